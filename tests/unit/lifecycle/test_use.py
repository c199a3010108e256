"""Use of a model: speed and rest."""

from typing import Any

import pytest

from edged.lifecycle import requests, use
from edged.lifecycle.requests import InFlight
from edged.lifecycle.use import Use
from edged.runner import protocol


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (use, requests):
        monkeypatch.setattr(module, "time", clock)
    return clock


def token(n_generated: int, finish_reason: Any = None, index: int = 0) -> protocol.TokenEvent:
    return protocol.TokenEvent(1, "x", n_generated, finish_reason, index)


def test_nothing_is_known_of_a_model_that_nobody_has_used(clock: Clock) -> None:
    fresh = Use()
    assert (fresh.tokens_per_s, fresh.unused_s) == (None, None)
    fresh.asked()
    clock.now_s += 3
    assert (fresh.tokens_per_s, fresh.unused_s) == (None, 3.0)


def test_the_last_answers_count_most(clock: Clock) -> None:
    used = Use()
    used.answered(100, 10.0)
    assert used.tokens_per_s == 10.0
    for _ in range(30):
        used.answered(100, 2.0)
    assert used.tokens_per_s == pytest.approx(50.0, rel=0.01)
    clock.now_s += 7
    assert used.unused_s == 7.0


def test_an_answers_pace_is_from_its_first_token_to_its_last(clock: Clock) -> None:
    in_flight = InFlight()
    request = in_flight.begin(protocol.Generate(id=0, n=2)).request
    clock.now_s += 5  # the prompt
    assert in_flight.answer(request, token(1), last=False) is None
    clock.now_s += 1
    assert in_flight.answer(request, token(1, index=1), last=False) is None
    clock.now_s += 1
    assert in_flight.answer(request, token(5), last=False) is None
    assert in_flight.answer(request, token(21, "stop"), last=True) == (20, 2.0)
    clock.now_s += 1
    assert in_flight.answer(request, token(11, "length", index=1), last=True) == (10, 2.0)


def test_an_answer_of_one_token_has_no_pace() -> None:
    in_flight = InFlight()
    assert (
        in_flight.answer(in_flight.begin(protocol.Generate(id=0)).request, token(1, "stop"), last=True)
        is None
    )


def test_embeddings_take_from_the_request_to_the_answer(clock: Clock) -> None:
    in_flight = InFlight()
    request = in_flight.begin(protocol.Embed(id=0, texts=("abc", "abcd"))).request
    clock.now_s += 0.5
    frame = protocol.Embeddings(id=request, n_embd=1, n_tokens=(3, 4), vectors=bytes(8))
    assert in_flight.answer(request, frame, last=True) == (7, 0.5)


def test_what_nobody_waits_for_any_more_has_no_pace() -> None:
    in_flight = InFlight()
    pending = in_flight.begin(protocol.Generate(id=0))
    in_flight.forget(pending)
    assert in_flight.answer(pending.request, token(9, "stop"), last=True) is None
