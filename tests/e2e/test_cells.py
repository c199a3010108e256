"""KV cells that were copied, saved or restored give the very logits that cells computed in place give.

Compared bit by bit, with the same tokens in batches of the same shapes: only then does rounding not differ.
The model directly, without an engine that could choose another way.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.runner.model import Context, Model
from edged.runner.protocol import Start

_SENTENCES = ("The baker sleeps by day. ", "A smith came late. ", "Old Mary, two boats, 17 nets. ")
_CHUNK = 50
_GREEDY_STEPS = 64

Logits = np.ndarray[Any, np.dtype[np.float32]]


class Cells:
    """A model and as many contexts on it as a test needs."""

    def __init__(self, path: Path, cell_type: str, n_ctx: int) -> None:
        self._start = Start(
            path=str(path), kind="generate", wait_for_prefetch=False, warmup=False, repack=False,
            n_ctx=n_ctx, n_seq_max=4, n_batch=256, n_ubatch=256, type_k=cell_type, type_v=cell_type,
            n_threads=1, prefetch=(), random_access=(), mlock_bytes=0,
            max_queue_tokens=1, max_queue_requests=1,
        )  # fmt: skip
        self._model = Model(self._start)
        self._contexts: list[Context] = []

    def context(self) -> Context:
        self._contexts.append(Context(self._model, self._start, ctypes.c_int(0)))
        return self._contexts[-1]

    def tokens(self, n_tokens: int, salt: int) -> list[int]:
        text = "".join(f"{each * salt} {_SENTENCES[each * salt % 3]}" for each in range(n_tokens))
        return self._model.vocabulary.tokenize(text, add_special=True, parse_special=False)[:n_tokens]

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self._model.close()


@pytest.fixture(params=[("q8_0", 1024), ("f16", 1000)], ids=str)
def cells(models: Path, request: pytest.FixtureRequest) -> Iterator[Cells]:
    """With a number of cells that llama.cpp has to round up, too."""
    made = Cells(models / "smollm2.gguf", *request.param)
    yield made
    made.close()


def _compute(context: Context, slot: int, tokens: Sequence[int], first: int = 0) -> Logits:
    """The last token's logits."""
    for begin in range(0, len(tokens), _CHUNK):
        piece = tokens[begin : begin + _CHUNK]
        assert context.compute([(slot, first + begin, piece, begin + _CHUNK >= len(tokens))])
    return context.logits(len(piece) - 1).copy()


def _continued(
    context: Context, slot: int, first: int, tail: Sequence[int], n_steps: int = 8
) -> list[Logits]:
    """The logits after `tail`, then those of each greedy step."""
    logits = [_compute(context, slot, tail, first)]
    for position in range(first + len(tail), first + len(tail) + n_steps):
        assert context.compute([(slot, position, [int(logits[-1].argmax())], True)])
        logits.append(context.logits(0).copy())
    return logits


def _same(one: list[Logits], other: list[Logits]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=False))


def _copied(context: Context, prefix: list[int], _other: list[int]) -> int:
    _compute(context, 0, prefix)
    context.copy(0, 1)
    return 1


def _onto_longer(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 2, [*other, *prefix])
    _compute(context, 0, prefix)
    context.copy(0, 2)
    return 2


def _copy_of_a_copy(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 3, other)
    _compute(context, 0, prefix)
    context.copy(0, 1)
    context.copy(0, 2)
    context.copy(2, 3)
    return 3


def _source_replaced(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 0, prefix)
    context.copy(0, 1)
    assert context.keep(0, 0) == 0
    _compute(context, 0, other)
    return 1


def _source_copied_over(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 0, prefix)
    _compute(context, 3, other)
    context.copy(0, 1)
    context.copy(3, 0)
    return 1


def _cut_out_of_a_longer_one(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 0, prefix)
    _compute(context, 0, other[:_CHUNK], len(prefix))
    context.copy(0, 1)
    assert context.keep(1, len(prefix)) == len(prefix)
    return 1


def _saved_and_restored(context: Context, prefix: list[int], other: list[int]) -> int:
    _compute(context, 0, prefix)
    saved = context.save(0)
    _compute(context, 2, other)
    assert context.restore(2, memoryview(saved))
    return 2


Way = Callable[[Context, list[int], list[int]], int]
_WAYS: tuple[Way, ...] = (
    _copied, _onto_longer, _copy_of_a_copy, _source_replaced, _source_copied_over, _cut_out_of_a_longer_one,
    _saved_and_restored,
)  # fmt: skip


@pytest.mark.parametrize("n_tokens", [70, 300])
def test_cells_are_worth_what_computing_them_again_is(cells: Cells, n_tokens: int) -> None:
    prefix, other, tail = cells.tokens(n_tokens, 1), cells.tokens(n_tokens // 2, 2), cells.tokens(40, 5)
    context = cells.context()
    _compute(context, 0, prefix)
    in_place = _continued(context, 0, n_tokens, tail, _GREEDY_STEPS)
    for way in _WAYS:
        context = cells.context()
        slot = way(context, prefix, other)
        n_steps = _GREEDY_STEPS if way is _copied else 8
        assert _same(_continued(context, slot, n_tokens, tail, n_steps), in_place), way.__name__

    context = cells.context()
    changed = [*prefix[: n_tokens // 2], prefix[0], *prefix[n_tokens // 2 + 1 :]]
    _compute(context, 0, changed)
    assert not _same(_continued(context, 0, n_tokens, tail, 0), in_place), "one cell in the middle is seen"


def test_source_and_target_go_on_in_one_batch(cells: Cells) -> None:
    """As they do in the engine; beside what two slots give that have both computed the prefix."""
    prefix, token = cells.tokens(130, 1), cells.tokens(9, 7)[-1]
    both, copied = cells.context(), cells.context()
    for context in (both, copied):
        _compute(context, 0, prefix)
    _compute(both, 1, prefix)
    copied.copy(0, 1)
    logits: list[list[Logits]] = []
    for context in (both, copied):
        assert context.compute([(0, 130, [token], True), (1, 130, [token + 1], True)])
        logits.append([context.logits(0).copy(), context.logits(1).copy()])
    assert _same(logits[0], logits[1])
    assert not _same(logits[0][:1], logits[0][1:])


def test_nothing_is_saved_before_a_copy_was_made(cells: Cells) -> None:
    context, prefix = cells.context(), cells.tokens(60, 1)
    _compute(context, 0, prefix)
    context.copy(0, 1)
    assert not context.settled
    assert context.save(1) == b""
    _compute(context, 2, prefix[:5])
    assert context.settled
    fresh = cells.context()
    assert fresh.restore(0, memoryview(context.save(1)))
    assert _same(_continued(fresh, 0, 60, prefix[:9]), _continued(context, 0, 60, prefix[:9]))
