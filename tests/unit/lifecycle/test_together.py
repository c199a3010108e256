"""Several generations as if they were one."""

import pytest

from edged.errors import Overloaded
from edged.lifecycle.requests import Generation, Pending
from edged.lifecycle.together import Together
from edged.runner import protocol

ASKED = protocol.Generate(id=0, text="a", n=2)


class Runner:
    """Takes so many generations, and says what the test wants said of them."""

    def __init__(self, room: int = 9) -> None:
        self.pending: list[Pending] = []
        self.cancelled: list[Pending] = []
        self._room = room

    def submit(self, asked: protocol.Generate) -> Generation:
        if len(self.pending) == self._room:
            raise Overloaded("full", 1.0)
        self.pending.append(Pending(len(self.pending), asked))
        return Generation(self.pending[-1], asked.n, self.cancelled.append, lambda _: None)

    def admit(self, place: int, n_tokens: int) -> None:
        self.pending[place].put(protocol.Admitted(place, n_tokens, 1))

    def say(self, place: int, index: int, text: str, *, last: bool = False) -> None:
        self.pending[place].put(protocol.TokenEvent(place, text, 1, "stop" if last else None, index))


def test_answers_are_numbered_through_and_all_must_end() -> None:
    runner = Runner()
    both = Together.begin(runner.submit, (ASKED, ASKED))
    for place in (0, 1):
        runner.admit(place, 3 + place)
        assert both.poll(0) is None
    assert (both.n_prompt_tokens, both.n_cached_tokens) == (7, 2)
    told = []
    for place, index in ((0, 0), (1, 1), (0, 1), (1, 0)):
        assert not both.finished
        runner.say(place, index, f"{place}{index}", last=True)
        event = both.poll(0)
        assert event is not None
        told.append((event.index, event.text))
    assert told == [(0, "00"), (3, "11"), (1, "01"), (2, "10")]
    assert both.finished
    assert both.poll(0) is None


def test_it_is_admitted_with_the_first_and_says_so_before_any_token() -> None:
    runner = Runner()
    both = Together.begin(runner.submit, (ASKED, ASKED))
    assert both.n_prompt_tokens is None
    runner.admit(1, 5)
    runner.say(1, 0, "a")
    assert both.poll(0) is None
    assert both.n_prompt_tokens == 5
    event = both.poll(0)
    assert event is not None
    assert (event.index, event.text) == (2, "a")


def test_no_answer_waits_for_another() -> None:
    runner = Runner()
    both = Together.begin(runner.submit, (ASKED, ASKED))
    for place in (0, 1):
        runner.admit(place, 1)
        assert both.poll(0) is None
    for number in range(4):
        runner.say(1, 0, str(number))
    assert [event.text for _ in range(4) if (event := both.poll(0))] == ["0", "1", "2", "3"]


def test_all_are_taken_or_none() -> None:
    runner = Runner(room=2)
    with pytest.raises(Overloaded):
        Together.begin(runner.submit, (ASKED, ASKED, ASKED))
    assert runner.cancelled == runner.pending
    assert len(runner.pending) == 2


def test_all_are_given_up() -> None:
    runner = Runner()
    Together.begin(runner.submit, (ASKED, ASKED)).cancel()
    assert runner.cancelled == runner.pending
