"""A model that crashes, is cut short or damaged takes nothing else down, and says what is wrong."""

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from edged.store import receipt
from tests.e2e.daemon import PATIENCE_S, Daemon

Start = Callable[..., Daemon]


def _ready(name: str) -> Callable[[int, Any], bool]:
    def holds(_status: int, body: Any) -> bool:
        return any(model["model"] == name and model["state"] == "ready" for model in body["models"])

    return holds


def test_after_kill_9_the_next_request_succeeds_and_life_never_stopped(start: Start) -> None:
    daemon = start()
    daemon.wait_ready()
    assert daemon.chat("hello")[0] == 200
    beats: list[int] = []
    stop = threading.Event()

    def listen() -> None:
        while not stop.wait(0.01):
            beats.append(daemon.call("GET", "/livez")[0])

    listener = threading.Thread(target=listen)
    listener.start()
    pid = daemon.model("smollm2")["pid"]
    os.kill(pid, signal.SIGKILL)
    daemon.wait_until("/edged/v1/models", lambda _status, body: not _ready("smollm2")(_status, body))
    assert daemon.embed("the other model goes on")[0] == 200
    assert daemon.chat("hello")[0] == 200, "it waited for the restart"
    stop.set()
    listener.join()
    assert set(beats) == {200}
    status = daemon.model("smollm2")
    assert status["pid"] != pid
    assert status["restarts"] == 1


def test_a_request_at_work_hears_why_its_runner_ended(start: Start) -> None:
    daemon = start()
    daemon.wait_ready()
    answers: list[tuple[int, Any]] = []
    body = {
        "messages": [{"role": "user", "content": "Tell a story."}],
        "max_tokens": 2000,
        "model": "smollm2",
    }
    worker = threading.Thread(
        target=lambda: answers.append(
            daemon.call("POST", "/v1/chat/completions", {**body, "ignore_eos": True})
        )
    )
    worker.start()
    daemon.wait_until(
        "/edged/v1/models", lambda _s, models: any(model["busy_slots"] for model in models["models"])
    )
    os.kill(daemon.model("smollm2")["pid"], signal.SIGKILL)
    worker.join()
    status, answer = answers[0]
    assert status >= 500
    assert "SIGKILL" in answer["error"]["message"]


def test_a_file_that_is_cut_short_is_named_and_the_other_model_serves(
    start: Start, copied_models: Path
) -> None:
    os.truncate(copied_models / "smollm2.gguf", 50_000_000)
    daemon = start(folder=copied_models)
    assert daemon.embed("hello")[0] == 200
    status, answer = daemon.chat("hello")
    assert status == 503
    assert "smollm2.gguf" in answer["error"]["message"]
    assert daemon.call("GET", "/livez")[0] == 200
    assert daemon.call("GET", "/readyz")[0] == 503
    assert daemon.call("GET", "/readyz?model=minilm")[0] == 200


def test_a_file_whose_bytes_changed_since_the_pull_is_refused(start: Start, copied_models: Path) -> None:
    """It would load, and serve wrong numbers."""
    path = copied_models / "minilm.gguf"
    with path.open("r+b") as file:
        file.seek(15_000_000)
        file.write(bytes(1_000_000))
    assert receipt.read(path) is not None
    daemon = start(folder=copied_models)
    status, answer = daemon.embed("hello")
    assert status == 503
    assert "damaged" in answer["error"]["message"]
    assert daemon.chat("hello")[0] == 200


def test_a_zeroed_file_without_a_receipt_gives_an_error_and_no_numbers(
    start: Start, copied_models: Path
) -> None:
    path = copied_models / "minilm.gguf"
    (copied_models / ".receipts" / "minilm.gguf.json").unlink()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(size - 1_000_000))
    daemon = start("models.minilm.strategy=stream", folder=copied_models)
    status, answer = daemon.embed("hello")
    assert status >= 500
    assert "damaged" in answer["error"]["message"]
    assert daemon.chat("hello")[0] == 200


def test_a_missing_file_says_how_to_get_it_and_is_found_when_it_came(
    start: Start, copied_models: Path
) -> None:
    path = copied_models / "minilm.gguf"
    away = path.rename(copied_models / "away")
    daemon = start(folder=copied_models)
    status, answer = daemon.embed("hello")
    assert status == 503
    assert "edged pull minilm" in answer["error"]["message"]
    away.rename(path)
    assert daemon.call("POST", "/edged/v1/models/minilm/load")[0] in (200, 202)
    assert daemon.embed("hello")[0] == 200


def test_no_runner_outlives_a_killed_daemon(start: Start) -> None:
    daemon = start()
    daemon.wait_ready()
    process = psutil.Process(daemon.process.pid)
    assert len(process.children()) == 2
    with_renderers = process.children(recursive=True)
    daemon.process.kill()
    _, alive = psutil.wait_procs(with_renderers, timeout=30)
    assert not alive


def test_sigterm_lets_a_stream_end_and_exits_with_0(start: Start) -> None:
    daemon = start()
    daemon.wait_ready()
    stream = daemon.client().chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Tell a story."}],
        max_tokens=60,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    chunks = iter(stream)
    next(chunks)
    daemon.process.send_signal(signal.SIGTERM)
    last = list(chunks)[-1]
    assert last.choices[0].finish_reason == "length"
    assert daemon.process.wait(60) == 0


def test_sigterm_while_loading_exits_with_0(start: Start) -> None:
    daemon = start()
    assert daemon.stop() == 0


def test_a_stream_that_outlasts_the_drain_is_cut_and_the_exit_code_is_0(start: Start) -> None:
    daemon = start("server.drain_timeout=200ms")
    daemon.wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    body = {"model": "smollm2", "stream": True, "max_tokens": 4000, "ignore_eos": True}
    body["messages"] = [{"role": "user", "content": "Tell a story."}]
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    stream = connection.getresponse()
    stream.read(200)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGTERM)  # from somebody who cannot wait
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        assert not stream.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    assert daemon.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in "".join(daemon.output)


def test_a_runner_that_is_stopped_does_not_hold_up_the_end(start: Start) -> None:
    daemon = start()
    daemon.wait_ready()
    os.kill(daemon.model("smollm2")["pid"], signal.SIGSTOP)
    assert daemon.stop() == 0
