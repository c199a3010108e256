"""Batches, slots and prefixes, without a model."""

import pytest

from edged.runner.engine.candidates import Logits
from edged.runner.engine.scheduler import Limits, QueueFull, Row, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream


class FakeSampler:
    """Counts how often it is freed."""

    def __init__(self) -> None:
        self.closed = 0

    def choose(self, logits: Logits) -> int | None:
        raise AssertionError(f"the scheduler samples nothing, not from {len(logits)} logits")

    def close(self) -> None:
        self.closed += 1


class FakeMemory:
    """A KV cache that keeps what it is asked to, and remembers the asking."""

    def __init__(self, *, can_keep: bool = True) -> None:
        self.can_keep = can_keep
        self.asked: list[tuple[int, int]] = []
        self.copied: list[tuple[int, int]] = []

    def keep(self, sequence: int, n_tokens: int) -> int:
        self.asked.append((sequence, n_tokens))
        return n_tokens if self.can_keep else 0

    def copy(self, source: int, target: int) -> None:
        self.copied.append((source, target))


def _sequence(number: int, tokens: list[int], max_tokens: int = 8) -> Sequence:
    return Sequence(number, list(tokens), len(tokens), max_tokens, FakeSampler(), TextStream())


def _scheduler(memory: FakeMemory | None = None, **changes: int) -> Scheduler:
    limits = {
        "n_slots": 2,
        "n_batch": 8,
        "prefill_beside_decode": 4,
        "max_queue_requests": 3,
        "max_queue_tokens": 20,
    } | changes
    return Scheduler(Limits(**limits), memory or FakeMemory())


def _step(scheduler: Scheduler) -> list[Row]:
    list(scheduler.admit())
    rows = scheduler.schedule()
    scheduler.computed(rows)
    for row in rows:
        if row.wants_output and row.slot.sequence:
            row.slot.sequence.tokens.append(99)
    return rows


def test_a_long_prompt_goes_in_chunks_and_only_its_end_wants_output() -> None:
    scheduler = _scheduler()
    scheduler.add(_sequence(1, list(range(20))))
    shapes = [[(row.first, len(row.tokens), row.wants_output) for row in _step(scheduler)] for _ in range(4)]
    assert shapes == [[(0, 8, False)], [(8, 8, False)], [(16, 4, True)], [(20, 1, True)]]


def test_decoding_comes_first_and_bounds_the_prompt_beside_it() -> None:
    scheduler = _scheduler()
    scheduler.add(_sequence(1, [1, 2]))
    _step(scheduler)
    scheduler.add(_sequence(2, list(range(10))))
    rows = _step(scheduler)
    assert [(row.slot.index, len(row.tokens)) for row in rows] == [(0, 1), (1, 4)]


def test_a_batch_never_exceeds_n_batch() -> None:
    scheduler = _scheduler(n_slots=4, n_batch=6)
    for number in range(4):
        scheduler.waiting.append(_sequence(number, list(range(number, number + 9))))
    for _ in range(12):
        assert sum(len(row.tokens) for row in _step(scheduler)) <= 6


def test_prompts_are_computed_in_the_order_of_arrival() -> None:
    scheduler = _scheduler()
    scheduler.add(_sequence(1, list(range(10))))
    scheduler.add(_sequence(2, list(range(50, 60))))
    rows = _step(scheduler)
    assert [row.slot.sequence.id for row in rows if row.slot.sequence] == [1]


def test_a_prompt_goes_where_most_of_it_is_cached_and_recomputes_its_last_token() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory)
    scheduler.slots[0].cached = [1, 2, 9]
    scheduler.slots[1].cached = [1, 2, 3, 4]
    sequence = _sequence(1, [1, 2, 3, 4])
    scheduler.add(sequence)
    assert list(scheduler.admit()) == [sequence]
    assert memory.asked == [(1, 3)]
    assert sequence.n_cached_tokens == 3
    assert [(row.first, row.tokens) for row in scheduler.schedule()] == [(3, [4])]


def test_what_the_memory_could_not_keep_is_computed_again() -> None:
    scheduler = _scheduler(FakeMemory(can_keep=False))
    scheduler.slots[0].cached = [1, 2, 3]
    sequence = _sequence(1, [1, 2, 3, 4])
    scheduler.add(sequence)
    list(scheduler.admit())
    assert sequence.n_cached_tokens == 0
    assert [(row.first, row.tokens) for row in scheduler.schedule()] == [(0, [1, 2, 3, 4])]


def test_cached_is_what_was_computed_and_nothing_else() -> None:
    """A slot that claims cells of an abandoned request would continue the next one from another's text."""
    scheduler = _scheduler(n_slots=1)
    scheduler.add(_sequence(1, [1, 2, 3]))
    _step(scheduler)
    _step(scheduler)
    scheduler.cancel(1)
    assert scheduler.slots[0].cached == [1, 2, 3, 99]
    second = _sequence(2, [1, 2, 7, 8])
    scheduler.add(second)
    list(scheduler.admit())
    assert scheduler.slots[0].cached == [1, 2]
    assert second.n_cached_tokens == 2


def test_reset_drops_the_cells() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory)
    scheduler.add(_sequence(1, [1, 2]))
    _step(scheduler)
    scheduler.reset(scheduler.slots[0])
    assert scheduler.slots[0].cached == []
    assert memory.asked[-1] == (0, 0)
    assert scheduler.idle


def test_the_queue_refuses_by_requests_and_by_tokens_but_never_a_lone_request() -> None:
    scheduler = _scheduler(n_slots=1)
    scheduler.add(_sequence(1, [1]))  # the free slot's
    scheduler.add(_sequence(2, list(range(50))))  # longer than max_queue_tokens, but alone
    with pytest.raises(QueueFull):
        scheduler.add(_sequence(3, [1]))
    small = _scheduler()
    for number in range(5):  # two for the free slots, three in the queue
        small.add(_sequence(number, [1]))
    with pytest.raises(QueueFull, match="5 requests"):
        small.add(_sequence(6, [1]))


def test_cancel_frees_the_sampler_once_wherever_the_sequence_is() -> None:
    scheduler = _scheduler(n_slots=1)
    running, waiting = _sequence(1, [1]), _sequence(2, [2])
    scheduler.add(running)
    scheduler.add(waiting)
    list(scheduler.admit())
    for number in (1, 2, 2, 3):
        scheduler.cancel(number)
    assert scheduler.idle
    samplers = [running.sampler, waiting.sampler]
    assert [sampler.closed for sampler in samplers if isinstance(sampler, FakeSampler)] == [1, 1]
