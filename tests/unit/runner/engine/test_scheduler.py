"""Batches, slots and prefixes, without a model."""

import pytest

from edged.runner.engine.candidates import Logits
from edged.runner.engine.pace import Pace
from edged.runner.engine.rows import Row
from edged.runner.engine.scheduler import Limits, QueueFull, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream

STEP_S = 0.1


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
        self.can_hold = True
        self.asked: list[tuple[int, int]] = []
        self.copied: list[tuple[int, int]] = []
        self.settled = True

    def keep(self, sequence: int, n_tokens: int) -> int:
        self.asked.append((sequence, n_tokens))
        return n_tokens if self.can_keep else 0

    def holds(self, sequence: int, n_tokens: int) -> bool:
        return self.can_hold and sequence >= 0 and n_tokens > 0

    def copy(self, source: int, target: int) -> None:
        self.copied.append((source, target))
        self.settled = False


def _sequence(number: int, tokens: list[int], max_tokens: int = 8) -> Sequence:
    return Sequence(number, list(tokens), len(tokens), max_tokens, FakeSampler(), TextStream())


def _scheduler(memory: FakeMemory | None = None, **changes: int) -> Scheduler:
    limits = {
        "n_slots": 2,
        "n_batch": 8,
        "max_queue_requests": 3,
        "max_queue_tokens": 20,
    } | changes
    return Scheduler(Limits(**limits), memory or FakeMemory(), Pace(STEP_S, 4))


def _step(scheduler: Scheduler) -> list[Row]:
    list(scheduler.admit())
    rows = scheduler.schedule()
    scheduler.computed(rows, 0.0)
    for row in rows:
        if row.n_outputs and row.slot.sequence:
            row.slot.sequence.tokens.append(99)
    return rows


def test_a_long_prompt_goes_in_chunks_and_only_its_end_wants_output() -> None:
    scheduler = _scheduler()
    scheduler.add(_sequence(1, list(range(20))))
    shapes = [[(row.first, len(row.tokens), row.n_outputs) for row in _step(scheduler)] for _ in range(4)]
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


def _ids(rows: list[Row]) -> list[tuple[int, int]]:
    return [(row.slot.sequence.id, len(row.tokens)) for row in rows if row.slot.sequence]


def test_a_short_prompt_passes_a_long_one_that_has_begun() -> None:
    scheduler = _scheduler(n_slots=3)
    scheduler.add(_sequence(1, list(range(40))))
    scheduler.add(_sequence(2, list(range(50, 90))))
    assert _ids(_step(scheduler)) == [(1, 8)]
    scheduler.add(_sequence(3, list(range(100, 105))))
    assert _ids(_step(scheduler)) == [(3, 5), (1, 3)]


def test_a_long_prompt_is_not_passed_for_ever() -> None:
    """It waits for as many tokens of others as it is longer than they, then it comes first."""
    scheduler = _scheduler()
    scheduler.add(_sequence(1, list(range(30))))
    passed_by = 0
    while passed_by < 50:
        scheduler.add(_sequence(2 + passed_by, list(range(100 * passed_by, 100 * passed_by + 8))))
        rows = _step(scheduler)
        if _ids(rows)[0][0] == 1:
            break
        passed_by += 1
        scheduler.release(rows[0].slot)
    assert 1 <= passed_by <= 4


def test_of_equal_prompts_the_first_is_finished_first() -> None:
    scheduler = _scheduler()
    scheduler.add(_sequence(1, list(range(20))))
    scheduler.add(_sequence(2, list(range(50, 70))))
    assert [_ids(_step(scheduler)) for _ in range(3)] == [[(1, 8)], [(1, 8)], [(1, 4), (2, 4)]]


def test_what_several_prompts_begin_with_is_computed_once_and_copied() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory, n_slots=3, n_batch=64)
    system = list(range(40))
    sequences = [_sequence(number, [*system, 100 + number, 200 + number]) for number in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    assert _ids(_step(scheduler)) == [(0, 40)], "it ends where the others branch off"
    rows = _step(scheduler)
    assert memory.copied == [(0, 1), (0, 2)]
    assert sorted((row.slot.index, row.first, row.tokens) for row in rows) == [
        (number, 40, [100 + number, 200 + number]) for number in range(3)
    ]
    assert [sequence.n_cached_tokens for sequence in sequences] == [0, 40, 40]


def test_a_prompt_that_must_be_computed_takes_nothing_from_others() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory, n_slots=3, n_batch=64)
    for number in range(2):
        sequence = _sequence(number, list(range(24)))
        sequence.cache_prompt = False
        scheduler.add(sequence)
    assert _ids(_step(scheduler)) == [(0, 24), (1, 24)]
    for slot in scheduler.slots:
        scheduler.release(slot)
    again = _sequence(2, list(range(24)))
    again.cache_prompt = False
    scheduler.add(again)
    assert _ids(_step(scheduler)) == [(2, 24)]
    assert (again.n_cached_tokens, memory.copied) == (0, [])


def test_who_waits_for_a_leader_that_goes_away_computes_alone() -> None:
    scheduler = _scheduler()
    for number in (1, 2):
        scheduler.add(_sequence(number, [*range(40), 100 + number]))
    assert _ids(_step(scheduler)) == [(1, 8)]
    scheduler.cancel(1)
    assert _ids(_step(scheduler)) == [(2, 8)]


def test_who_waits_passes_its_turn_on_to_its_leader() -> None:
    """A long leader that is passed by others would hold up a short prompt with it."""
    scheduler = _scheduler(n_slots=3, n_batch=20)
    scheduler.add(_sequence(1, list(range(200))))
    scheduler.add(_sequence(2, list(range(500, 530))))
    list(scheduler.admit())
    scheduler.add(_sequence(3, [*range(20), 7]))
    assert _ids(_step(scheduler)) == [(1, 20)]


def test_nothing_is_copied_that_the_leader_no_longer_holds() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory, n_batch=64)
    for number in (1, 2):
        scheduler.add(_sequence(number, [*range(40), 100 + number]))
    _step(scheduler)
    memory.can_hold = False
    assert sorted(_ids(_step(scheduler))) == [(1, 1), (2, 41)]
    assert memory.copied == []


def test_a_system_prompt_in_a_busy_slot_is_copied_from_there() -> None:
    memory = FakeMemory()
    scheduler = _scheduler(memory, n_batch=64)
    system = list(range(40))
    scheduler.add(_sequence(1, [*system, 100]))
    _step(scheduler)
    second = _sequence(2, [*system, 200, 201])
    scheduler.add(second)
    assert _ids(_step(scheduler)) == [(1, 1), (2, 2)]
    assert memory.copied == [(0, 1)]
    assert second.n_cached_tokens == 40
    assert scheduler.slots[0].reused == 40


def test_late_requests_are_dropped_before_anything_is_computed() -> None:
    scheduler = _scheduler(n_slots=1)
    for number in range(3):
        scheduler.add(_sequence(number, [number]))
    _step(scheduler)
    scheduler.waiting[0].deadline_s = 10.0
    scheduler.waiting[1].deadline_s = 12.0
    assert [sequence.id for sequence in scheduler.drop_late(11.0)] == [1]
    assert [sequence.id for sequence in scheduler.waiting] == [2]


def test_the_work_left_counts_prompts_and_answers_at_their_measured_rates() -> None:
    scheduler = _scheduler(n_slots=1, n_batch=64)
    assert scheduler.work_s is None
    scheduler.add(_sequence(1, list(range(32)), max_tokens=10))
    list(scheduler.admit())
    rows = scheduler.schedule()
    scheduler.computed(rows, 3.2)  # 0.1 s a token
    for slot in scheduler.running:
        assert slot.sequence
        slot.sequence.tokens.append(5)
    scheduler.computed(scheduler.schedule(), 0.5)
    scheduler.add(_sequence(2, list(range(100, 120)), max_tokens=4))
    assert scheduler.work_s == pytest.approx(20 * 0.1 + (9 + 4) * 0.5)


class FakeShelf:
    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.asked: list[int] = []

    def restore(self, slot: int, tokens: list[int], n_there: int) -> list[int] | None:
        self.asked.append(slot)
        return list(self.tokens) if n_there < len(self.tokens) < len(tokens) else None


def test_a_prefix_from_the_shelf_is_cut_to_what_the_prompt_shares() -> None:
    memory = FakeMemory()
    scheduler = Scheduler(Limits(2, 64, 3, 20), memory, Pace(STEP_S, 4), FakeShelf([1, 2, 3, 9]))
    sequence = _sequence(1, [1, 2, 3, 4, 5])
    scheduler.add(sequence)
    assert [(row.first, row.tokens) for row in _step(scheduler)] == [(3, [4, 5])]
    assert sequence.n_cached_tokens == 3
    assert memory.asked == [(0, 3)]


def test_nothing_is_restored_where_copies_are_still_to_be_made() -> None:
    """llama.cpp copies when it next computes; a restored source would be copied instead of what was meant."""
    shelf = FakeShelf([])
    scheduler = Scheduler(Limits(3, 64, 3, 200), FakeMemory(), Pace(STEP_S, 4), shelf)
    scheduler.slots[0].cached = list(range(200))
    scheduler.add(_sequence(1, [*range(30), 100]))
    scheduler.add(_sequence(2, [300]))
    list(scheduler.admit())
    assert shelf.asked == [1]


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


def test_other_limits_hold_from_now_on_and_what_waits_goes_on_waiting() -> None:
    scheduler = _scheduler()
    for number in range(5):
        scheduler.add(_sequence(number, [1, 2]))
    scheduler.limit(max_queue_requests=1, max_queue_tokens=20, step_s=STEP_S)
    with pytest.raises(QueueFull):
        scheduler.add(_sequence(5, [1, 2]))
    assert len(scheduler.waiting) == 5
    scheduler.limit(max_queue_requests=9, max_queue_tokens=20, step_s=STEP_S)
    scheduler.add(_sequence(5, [1, 2]))
