"""Several answers to one prompt, their log probabilities, and answers that nothing can continue."""

import math

import pytest

from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream
from edged.runner.protocol import Admitted, FromRunner, Rejected, Step, TokenEvent
from tests.unit.runner.engine.test_workers import (
    NONE_POSSIBLE,
    CountingDecoder,
    Greedy,
    _finish,
    _sequence,
    _worker,
)


def _group(number: int, tokens: list[int], n: int) -> Sequence:
    first, *others = [
        Sequence(number, list(tokens), len(tokens), 50, Greedy(), TextStream(), index=index)
        for index in range(n)
    ]
    first.siblings = tuple(others)
    return first


def _events(sent: list[FromRunner]) -> list[TokenEvent]:
    return [event for frame in sent if isinstance(frame, Step) for event in frame.events]


def _answers(sent: list[FromRunner], number: int) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in _events(sent):
        if event.id == number:
            texts[event.index] = texts.get(event.index, "") + event.text
    return texts


@pytest.mark.parametrize("n_slots", [1, 2, 4])
def test_each_answer_is_whole_and_the_request_is_admitted_once(n_slots: int) -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent, n_slots=n_slots, max_queue_requests=9)
    worker.add(_group(1, [9, 9, 9, 5], 3))
    worker.add(_sequence(2, [3]))
    _finish(worker)
    assert _answers(sent, 1) == {0: "dcba", 1: "dcba", 2: "dcba"}
    assert _answers(sent, 2) == {0: "ba"}
    assert [frame.id for frame in sent if isinstance(frame, Admitted)] == [1, 2]
    ends = [(event.id, event.index) for event in _events(sent) if event.finish_reason]
    assert sorted(ends) == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_a_long_prompt_is_computed_once() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    decoder.n_ctx = 64
    worker = _worker(decoder, sent, n_slots=4, n_batch=64, max_queue_requests=9, max_queue_tokens=999)
    computed: list[int] = []
    compute = decoder.compute

    def counted(rows: list[tuple[int, int, list[int], bool]]) -> bool:
        computed.extend(len(tokens) for _, _, tokens, _ in rows)
        return compute(rows)

    decoder.compute = counted  # type: ignore[method-assign,assignment]
    worker.add(_group(1, [9] * 40 + [3], 4))
    _finish(worker)
    assert _answers(sent, 1) == dict.fromkeys(range(4), "ba")
    assert sum(computed) <= 41 + 4 * 3, "the prompt once, then a few tokens of each"
    assert len(decoder.copies) == 3


def test_cancelling_ends_all_answers() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent, max_queue_requests=9)
    worker.add(_group(1, [15], 5))
    worker.step()
    worker.step()
    worker.cancel(1)
    assert worker.idle


def test_a_failure_rejects_the_request_once_and_ends_all_its_answers() -> None:
    sent: list[FromRunner] = []
    decoder = CountingDecoder()
    worker = _worker(decoder, sent, max_queue_requests=9)
    worker.add(_group(1, [15], 4))
    worker.step()
    worker.step()
    decoder.fails = True
    worker.step()
    assert worker.idle
    assert [frame.kind for frame in sent if isinstance(frame, Rejected)] == ["failed"]


def test_too_many_answers_for_the_queue_are_refused_together() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent, n_slots=2, max_queue_requests=2)
    worker.add(_group(1, [9], 4))
    worker.add(_group(2, [9], 2))
    _finish(worker)
    assert [(frame.id, frame.kind) for frame in sent if isinstance(frame, Rejected)] == [(2, "full")]
    assert len(_answers(sent, 1)) == 4


def test_log_probabilities_come_with_the_text() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    sequence = _sequence(1, [5], stop=("b",))
    sequence.top_logprobs = 2
    worker.add(sequence)
    _finish(worker)
    entries = [entry for event in _events(sent) for entry in event.logprobs]
    assert [entry.piece for entry in entries] == [b"d", b"c"], "what the stop string cuts off has none"
    expected = math.log(
        math.exp(5) / (math.exp(5) + math.exp(2) + 98)
    )  # the decoder's two logits that stand out
    assert entries[0].logprob == pytest.approx(expected, abs=1e-4)
    assert entries[0].top[0] == (b"d", entries[0].logprob)
    assert len(entries[0].top) == 2


def test_an_answer_that_nothing_can_continue_ends() -> None:
    sent: list[FromRunner] = []
    worker = _worker(CountingDecoder(), sent)
    worker.add(_sequence(1, [NONE_POSSIBLE + 3]))
    _finish(worker)
    assert [event.finish_reason for event in _events(sent)] == [None, None, "stop"]


def test_an_answer_that_is_taken_whole_leaves_in_two_events() -> None:
    whole = Sequence(1, [5], 1, 50, Greedy(), TextStream(), whole=True)
    events = [
        TokenEvent(1, "", 1),
        TokenEvent(1, "Once", 2),
        TokenEvent(1, " upon", 3),
        TokenEvent(1, " a", 4),
        TokenEvent(1, " time", 5, "stop"),
    ]
    sent = [due for event in events if (due := whole.due(event)) is not None]
    assert sent == [TokenEvent(1, "Once", 2), TokenEvent(1, " upon a time", 5, "stop")]


def test_an_answer_of_one_event_leaves_at_once() -> None:
    whole = Sequence(1, [5], 1, 50, Greedy(), TextStream(), whole=True)
    only = TokenEvent(1, "", 1, "length")
    assert whole.due(only) == only
