"""Requests side by side, who share what they begin with, are answered as each of them alone.

With q8_0 cells: llama.cpp attends to these row by row, whatever the batch. To f16 cells it attends with
another kernel from 64 rows on, and with yet another from 512 cells on in a batch of one; each rounds
differently, so that a near tie may fall to the other side wherever a prompt is cut otherwise, copied or not.
"""

import ctypes
from pathlib import Path

from edged.runner.engine.candidates import Logits
from edged.runner.engine.generate import GenerateWorker
from edged.runner.engine.lease import Lease
from edged.runner.engine.pace import Pace
from edged.runner.engine.scheduler import Limits, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream
from edged.runner.model import Context, Model
from edged.runner.protocol import FromRunner, Start

_SYSTEM = "You answer questions about a harbour town. " + " ".join(
    f"House {number} belongs to the {trade}."
    for number, trade in enumerate(["baker", "smith", "fisher", "tailor", "carpenter", "teacher"] * 2)
)
_SUBJECTS = (
    "rain", "a smith", "the sea", "bread", "a clock", "winter", "the moon", "trains", "a garden", "paper",
    "salt", "iron", "a cat", "birds", "glass", "a river",
)  # fmt: skip


class Greedy:
    def choose(self, logits: Logits) -> int | None:
        return int(logits.argmax())

    def close(self) -> None:
        return None


def _answers(model: Model, context: Context, texts: list[str]) -> tuple[list[list[int]], int]:
    """The tokens that follow each text, all asked for at once; and how many reused cells."""
    context.clear()
    sent: list[FromRunner] = []
    scheduler = Scheduler(Limits(8, 256, 99, 1 << 20), context, Pace(0.25, 64))
    worker = GenerateWorker(scheduler, context, model.vocabulary, Lease(None), sent.append)
    sequences = []
    for number, text in enumerate(texts):
        tokens = model.vocabulary.tokenize(text, add_special=True, parse_special=True)
        sequences.append(Sequence(number, tokens, len(tokens), 24, Greedy(), TextStream()))
        worker.add(sequences[-1])
    while not worker.idle:
        worker.step()
    generated = [each.tokens[each.n_prompt_tokens :] for each in sequences]
    return generated, sum(each.n_cached_tokens > 50 for each in sequences)


def test_side_by_side_as_alone(models: Path) -> None:
    start = Start(
        path=str(models / "smollm2.gguf"), kind="generate", wait_for_prefetch=False, warmup=False,
        repack=False, n_ctx=512, n_seq_max=8, n_batch=256, n_ubatch=256, type_k="q8_0", type_v="q8_0",
        n_threads=1, prefetch=(), random_access=(), mlock_bytes=0, max_queue_tokens=1, max_queue_requests=1,
    )  # fmt: skip
    turns = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    texts = [turns.format(_SYSTEM, f"Tell me about {subject}.") for subject in _SUBJECTS]
    model = Model(start)
    context = Context(model, start, ctypes.c_int(0))
    try:
        alone = [_answers(model, context, [text])[0][0] for text in texts]
        together, n_reused = _answers(model, context, texts)
    finally:
        context.close()
        model.close()
    assert together == alone
    assert n_reused == len(texts) - 1
    assert len({tuple(tokens) for tokens in alone}) > len(texts) // 2, "the answers differ from each other"
