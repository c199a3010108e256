"""Requests that nobody waits for any more, with a real model: they end at once and cost nobody else."""

import ctypes
import http.client
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edged.runner.engine.candidates import Logits
from edged.runner.engine.generate import GenerateWorker
from edged.runner.engine.lease import Lease
from edged.runner.engine.pace import Pace
from edged.runner.engine.scheduler import Limits, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream
from edged.runner.model import Context, Model
from edged.runner.protocol import FromRunner, Start, Step
from tests.e2e.daemon import PATIENCE_S, Daemon


class Greedy:
    def choose(self, logits: Logits) -> int | None:
        return int(logits.argmax())

    def close(self) -> None:
        return None


def _events_of(sent: list[FromRunner], request: int) -> str:
    steps = [frame for frame in sent if isinstance(frame, Step)]
    return "".join(event.text for step in steps for event in step.events if event.id == request)


def test_a_cancelled_request_is_in_no_later_step(models: Path) -> None:
    """Neither while its prompt is computed nor while it answers; the slot goes to the next in that step."""
    start = Start(
        path=str(models / "smollm2.gguf"), kind="generate", wait_for_prefetch=False, warmup=False,
        repack=False, n_ctx=256, n_seq_max=1, n_batch=16, n_ubatch=16, type_k="f16", type_v="f16",
        n_threads=1, prefetch=(), random_access=(), mlock_bytes=0, max_queue_tokens=1, max_queue_requests=1,
    )  # fmt: skip
    model = Model(start)
    context = Context(model, start, ctypes.c_int(0))
    sent: list[FromRunner] = []
    scheduler = Scheduler(Limits(1, 16, 9, 999), context, Pace(0.25, 16))
    worker = GenerateWorker(scheduler, context, model.vocabulary, Lease(None), sent.append)

    def add(number: int, text: str) -> Sequence:
        tokens = model.vocabulary.tokenize(text, add_special=True, parse_special=False)
        sequence = Sequence(number, tokens, len(tokens), 6, Greedy(), TextStream())
        worker.add(sequence)
        return sequence

    def answer(number: int) -> str:
        add(number, "The capital of France is")
        while not worker.idle:
            worker.step()
        return _events_of(sent, number)

    try:
        undisturbed = answer(1)
        assert undisturbed
        for number, n_steps in ((2, 1), (4, 5)):  # 60 tokens: the prompt takes four steps of 16
            abandoned = add(number, "One, two, three, four. " * 8)
            for _ in range(n_steps):
                worker.step()
            n_tokens, n_frames = len(abandoned.tokens), len(sent)
            worker.cancel(number)
            assert worker.idle
            assert answer(number + 1) == undisturbed
            assert len(abandoned.tokens) == n_tokens
            assert _events_of(sent[n_frames:], number) == ""
    finally:
        context.close()
        model.close()


def test_who_waits_in_the_queue_until_the_deadline_hears_when_to_come_back(
    start: Callable[..., Daemon],
) -> None:
    daemon = start(
        "models.minilm.preload=false", "models.smollm2.n_seq_max=1", "models.smollm2.n_ctx=8192",
        "server.request_timeout=4s",
    )  # fmt: skip
    daemon.wait_ready()
    body = {
        "model": "smollm2", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 8000,
        "ignore_eos": True,
    }  # fmt: skip

    def ask(_: int) -> tuple[int, str | None, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        retry_after, answer = response.headers["Retry-After"], json.loads(response.read())
        connection.close()
        return response.status, retry_after, answer["error"]

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, range(3)))  # one slot: two of them wait all the time
    for status, retry_after, error in answers:
        assert status == 503
        assert int(retry_after or 0) >= 1
        assert error["type"] == "server_error", error
        assert error["message"]
    daemon.wait_until("/edged/v1/models", lambda _, __: daemon.model("smollm2")["busy_slots"] == 0)
    assert daemon.model("smollm2")["queued_requests"] == 0
    assert daemon.chat("Say yes.", max_tokens=4)[0] == 200
