"""Drafts from a sequence's own past: what they predict, when they pay, and that they change no answer."""

import ctypes
import random
from collections.abc import Sequence as Rows

import numpy as np
import pytest

from edged.runner.engine.candidates import Logits
from edged.runner.engine.generate import GenerateWorker
from edged.runner.engine.lease import Lease
from edged.runner.engine.pace import Pace
from edged.runner.engine.scheduler import Limits, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.speculation import Lookup, Speculation
from edged.runner.engine.text import TextStream
from edged.runner.protocol import FromRunner, Step, TokenEvent
from tests.unit.runner.engine.test_workers import Letters

_PASSAGE = [5, 9, 3, 7, 2, 8, 4, 6]


def test_what_followed_the_last_three_tokens_is_predicted() -> None:
    tokens = [*_PASSAGE, 1, 5, 9, 3]
    assert Lookup(tokens).draft(4) == [7, 2, 8, 4]
    assert not Lookup(_PASSAGE).predicts
    assert not Lookup([]).predicts


def test_the_latest_of_several_places_is_followed_until_it_is_wrong() -> None:
    tokens = [5, 9, 3, 7, 1, 5, 9, 3, 8, 1, 5, 9, 3]
    lookup = Lookup(tokens)
    assert lookup.draft(2) == [8, 1]
    tokens.append(7)  # as the first place has it
    lookup.follow()
    assert not lookup.predicts or lookup.draft(1) == [1]
    tokens += [1, 5]
    lookup.follow()
    assert lookup.draft(1) == [9]


def test_a_draft_goes_round_where_its_source_ends() -> None:
    assert Lookup([1, 1, 1, 1]).draft(5) == [1] * 5
    assert Lookup([4, 5, 6, 4, 5, 6]).draft(7) == [4, 5, 6, 4, 5, 6, 4]


def test_growing_token_by_token_knows_what_starting_late_knows() -> None:
    numbers = random.Random(7)
    tokens: list[int] = []
    grown = Lookup(tokens)
    for _ in range(400):
        tokens.append(numbers.randrange(4))
        grown.follow()
        assert not Lookup(tokens).predicts or grown.predicts
    assert all(tokens[at - 3 : at] == list(gram) for gram, at in grown._followers.items() if len(gram) == 3)


def test_predictions_that_nobody_computed_are_counted_too() -> None:
    tokens = [*_PASSAGE * 2, 5, 9, 3]
    lookup = Lookup(tokens)
    before = lookup.expected(4)
    for token in [*_PASSAGE[3:], *_PASSAGE]:
        tokens.append(token)
        lookup.follow()
    assert lookup.expected(4) > max(before, 3)


def test_a_sequence_that_departs_from_its_past_expects_little() -> None:
    numbers = random.Random(3)
    tokens = [*_PASSAGE]
    lookup = Lookup(tokens)
    for _ in range(30):
        tokens += [5, 9, 3, 100 + numbers.randrange(10_000)]
        lookup.follow()
    tokens += [5, 9, 3]
    lookup.follow()
    assert lookup.predicts
    assert lookup.expected(7) < 0.2


def _sure() -> Lookup:
    tokens = [*_PASSAGE]
    lookup = Lookup(tokens)
    tokens += _PASSAGE * 6
    lookup.follow()
    return lookup


def _measured(*times: tuple[int, int, float]) -> Speculation:
    speculation = Speculation(7)
    for n_sequences, n_draft, elapsed_s in times:
        speculation.measured(n_sequences, n_draft, elapsed_s)
    return speculation


def test_nothing_is_drafted_before_a_plain_step_was_measured() -> None:
    assert Speculation(7).drafts([_sure()], 50) == []
    assert len(_measured((1, 0, 0.01)).drafts([_sure()], 50)[0]) == 1


def test_longer_drafts_are_tried_step_by_step_where_short_ones_cost_little() -> None:
    speculation = _measured((1, 0, 0.010), (1, 1, 0.0105))
    assert len(speculation.drafts([_sure()], 50)[0]) == 3
    speculation.measured(1, 3, 0.012)
    assert len(speculation.drafts([_sure()], 50)[0]) == 7


def test_a_short_draft_that_costs_as_much_as_a_step_ends_the_tries() -> None:
    tokens = [*_PASSAGE, *_PASSAGE[:4]]
    lookup = Lookup(tokens)  # predicts, and has not proved itself
    assert _measured((1, 0, 0.010), (1, 1, 0.0195)).drafts([lookup], 50) == []


def test_the_length_with_the_most_tokens_a_second_is_taken() -> None:
    times = [(1, 0, 0.010), (1, 1, 0.019), (1, 2, 0.028), (1, 3, 0.015)]
    times += [(1, length, 0.060) for length in (4, 5, 6, 7)]
    assert len(_measured(*times).drafts([_sure()], 50)[0]) == 3


def test_drafts_end_where_each_token_costs_as_much_as_a_step() -> None:
    times = [(1, length, 0.010 * (1 + length)) for length in range(8)]
    assert _measured(*times).drafts([_sure()], 50) == []


def test_old_times_are_measured_again() -> None:
    speculation = _measured(*((1, length, 0.010 * (1 + length)) for length in range(8)))
    for _ in range(600):
        speculation.measured(1, 0, 0.010)
    assert speculation.drafts([_sure()], 50) == []
    for _ in range(4000):
        speculation.measured(1, 0, 0.010)
    assert speculation.drafts([_sure()], 50) != []


def test_several_sequences_draft_equally_or_not_at_all() -> None:
    speculation = _measured((2, 0, 0.010), (4, 0, 0.010), (8, 0, 0.010))
    speculation.measured(2, 1, 0.011)
    assert [len(draft) for draft in speculation.drafts([_sure(), _sure()], 50)] == [3, 3]
    assert speculation.drafts([_sure(), Lookup([1, 2, 3])], 50) == []
    assert speculation.drafts([_sure(), None], 50) == []
    assert [len(draft) for draft in speculation.drafts([_sure()] * 4, 50)] == [1] * 4
    assert speculation.drafts([_sure()] * 8, 50) == []
    assert speculation.drafts([_sure(), _sure()], 0) == []
    assert speculation.drafts([], 50) == []


class _Chooser:
    """Samples at random from what the logits allow; the same seed takes the same tokens."""

    def __init__(self, seed: int) -> None:
        self._numbers = random.Random(seed)

    def choose(self, logits: Logits) -> int | None:
        return self._numbers.choice([int(token) for token in np.flatnonzero(logits > 0)])

    def close(self) -> None:
        return None


class _Repeating:
    """Goes round the passage, but after some positions two tokens are possible. Checks every position."""

    n_ctx = 200
    settled = True

    def __init__(self) -> None:
        self.cells: dict[int, list[int]] = {}
        self.outputs: dict[int, tuple[int, int]] = {}
        self.sizes: list[int] = []
        self.flag = ctypes.c_int(0)

    def keep(self, sequence: int, n_tokens: int) -> int:
        del self.cells.setdefault(sequence, [])[n_tokens:]
        return len(self.cells[sequence])

    def holds(self, sequence: int, n_tokens: int) -> bool:
        return len(self.cells.get(sequence, [])) >= n_tokens

    def copy(self, source: int, target: int) -> None:
        self.cells[target] = list(self.cells[source])

    def compute(self, rows: Rows[tuple[int, int, list[int], int]]) -> bool:
        if self.flag.value:
            return False
        self.outputs.clear()
        end = 0
        for sequence, first, tokens, n_outputs in rows:
            cells = self.cells.setdefault(sequence, [])
            assert len(cells) == first, "rejected cells are gone"
            cells += tokens
            end += len(tokens)
            for back in range(n_outputs):
                self.outputs[end - 1 - back] = (tokens[-1 - back], len(cells) - back)
        self.sizes.append(end)
        return True

    def logits(self, index: int) -> Logits:
        token, n_before = self.outputs[index]
        row = np.zeros(100, np.float32)
        row[_PASSAGE[(_PASSAGE.index(token) + 1) % 8]] = 5
        if n_before % 13 == 0:
            row[_PASSAGE[(_PASSAGE.index(token) + 3) % 8]] = 4
        return row

    def logits_are_finite(self, index: int) -> bool:
        return index in self.outputs


def _worker(decoder: _Repeating, sent: list[FromRunner], speculation: Speculation | None) -> GenerateWorker:
    limits = Limits(n_slots=3, n_batch=32, max_queue_requests=9, max_queue_tokens=999)
    scheduler = Scheduler(limits, decoder, Pace(0.1, 8), None, speculation)
    return GenerateWorker(scheduler, decoder, Letters(), Lease(None), sent.append)


def _eager() -> Speculation:
    """Believes that a draft costs nothing."""
    speculation = Speculation(7)
    for n_sequences in (1, 2, 3):
        for n_draft in (0, 7):
            speculation.measured(n_sequences, n_draft, 1.0)
    speculation._cost = lambda _n, _draft: 1.0  # type: ignore[method-assign,assignment]
    return speculation


def _request(seed: int, max_tokens: int = 90, stop: tuple[str, ...] = ()) -> Sequence:
    sequence = Sequence(seed, [*_PASSAGE, *_PASSAGE], 16, max_tokens, _Chooser(seed), TextStream(stop))
    sequence.top_logprobs = 1
    return sequence


def _answered(speculation: Speculation | None, *requests: Sequence) -> tuple[list[TokenEvent], _Repeating]:
    sent: list[FromRunner] = []
    decoder = _Repeating()
    worker = _worker(decoder, sent, speculation)
    for request in requests:
        worker.add(request)
    while not worker.idle:
        worker.step()
        for slot in worker._scheduler.slots:
            assert decoder.cells.get(slot.index, []) == slot.cached, "a slot knows what its cells hold"
    events = [event for frame in sent if isinstance(frame, Step) for event in frame.events]
    return sorted(events, key=lambda event: (event.id, event.n_generated)), decoder


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("max_tokens", "stop"), [(90, ()), (7, ()), (90, ("hdf",)), (90, ("bhdfe", "gi"))])
def test_drafts_change_nothing_but_the_number_of_steps(
    seed: int, max_tokens: int, stop: tuple[str, ...]
) -> None:
    plain, slow = _answered(None, _request(seed, max_tokens, stop))
    speculation = _eager()
    drafted, quick = _answered(speculation, _request(seed, max_tokens, stop))
    assert drafted == plain
    assert plain[-1].finish_reason is not None
    assert len(quick.sizes) <= len(slow.sizes)
    assert speculation.n_drafted > 0
    assert speculation.n_accepted <= speculation.n_drafted


def test_repetition_takes_few_steps() -> None:
    _, slow = _answered(None, _request(1))
    _, quick = _answered(_eager(), _request(1))
    assert len(slow.sizes) == 90
    assert len(quick.sizes) < 40


def test_sequences_side_by_side_draft_and_answer_as_alone() -> None:
    together, _ = _answered(_eager(), *(_request(seed) for seed in (1, 2, 3)))
    alone = [event for seed in (1, 2, 3) for event in _answered(None, _request(seed))[0]]
    assert together == alone


def test_no_more_is_drafted_than_may_be_answered() -> None:
    _, decoder = _answered(_eager(), _request(1, max_tokens=4))
    assert decoder.sizes[0] == 16
    assert sum(decoder.sizes[1:]) <= 3
    assert len(decoder.cells[0]) <= 16 + 3


def test_a_request_with_a_seed_of_its_own_is_computed_the_same_way_every_time() -> None:
    request = _request(1)
    request.may_draft = False
    _, decoder = _answered(_eager(), request)
    assert decoder.sizes[1:] == [1] * 89


def test_cancelled_and_interrupted_drafts_leave_no_wrong_cells() -> None:
    for interrupt in (False, True):
        sent: list[FromRunner] = []
        decoder = _Repeating()
        worker = _worker(decoder, sent, _eager())
        worker.add(_request(1))
        for _ in range(4):
            worker.step()
        decoder.flag.value = int(interrupt)
        if interrupt:
            worker.step()
            decoder.flag.value = 0
        worker.cancel(1)
        assert worker.idle
        worker.add(_request(2))
        while not worker.idle:
            worker.step()
        second = [e for frame in sent if isinstance(frame, Step) for e in frame.events if e.id == 2]
        assert second == _answered(None, _request(2))[0]


def test_a_model_whose_cells_cannot_be_cut_drafts_once_and_answers_alike() -> None:
    class Uncut(_Repeating):
        def keep(self, sequence: int, n_tokens: int) -> int:
            there = len(self.cells.get(sequence, []))
            return super().keep(sequence, n_tokens if n_tokens == there else 0)

    sent: list[FromRunner] = []
    decoder, speculation = Uncut(), _eager()
    worker = _worker(decoder, sent, speculation)
    worker.add(_request(1))
    while not worker.idle:
        worker.step()
    events = [event for frame in sent if isinstance(frame, Step) for event in frame.events]
    assert events == _answered(None, _request(1))[0]
    n_wrong = speculation.n_drafted - speculation.n_accepted
    assert 0 < n_wrong <= 7
    assert decoder.sizes[-5:] == [1] * 5


def test_gauges_tell_what_was_drafted() -> None:
    sent: list[FromRunner] = []
    worker = _worker(_Repeating(), sent, _eager())
    worker.add(_request(1))
    while not worker.idle:
        worker.step()
    gauges = worker.gauges()
    assert 0 < gauges.accepted_tokens < gauges.drafted_tokens
