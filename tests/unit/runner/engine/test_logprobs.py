"""Log probabilities, and with which text they are sent."""

import math

import numpy as np
import pytest

from edged.runner.engine.logprobs import LEAST, log_probabilities
from edged.runner.engine.text import HeldLogprobs, TextStream
from edged.runner.protocol import TokenLogprob


def test_they_are_a_softmax_over_the_whole_vocabulary() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    logprob, top = log_probabilities(logits + 30, 2, 2)
    assert logprob == pytest.approx(math.log(0.125), abs=1e-5)
    assert [token for token, _ in top] == [0, 1]
    assert [value for _, value in top] == pytest.approx([math.log(0.5), math.log(0.25)], abs=1e-5)


def test_more_than_the_vocabulary_gives_the_vocabulary() -> None:
    _, top = log_probabilities(np.array([1, 3, 2], np.float32), 0, 20)
    assert [token for token, _ in top] == [1, 2, 0]
    assert log_probabilities(np.array([1, 3, 2], np.float32), 0, 0)[1] == []


def test_what_json_does_not_have_is_replaced() -> None:
    logprob, _ = log_probabilities(np.array([-np.inf, 0], np.float32), 0, 0)
    assert logprob == LEAST
    assert log_probabilities(np.array([np.nan, 0], np.float32), 1, 1)[0] == LEAST


def _sent(pieces: list[bytes], stop: tuple[str, ...]) -> list[tuple[str, list[bytes]]]:
    """Text and tokens of each event."""
    stream, held, events = TextStream(stop), HeldLogprobs(), []
    for piece in pieces:
        held.add(stream.n_characters, TokenLogprob(piece, -1.0))
        text = stream.push(piece)
        released = held.release(stream, ended=stream.stopped)
        events.append((text, [entry.piece for entry in released]))
        if stream.stopped:
            return events
    text = stream.finish()
    return [*events, (text, [entry.piece for entry in held.release(stream, ended=True)])]


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        ([b"a", b"b"], (), [("a", [b"a"]), ("b", [b"b"]), ("", [])]),
        ([b"a", b"EN", b"D", b"x"], ("END",), [("a", [b"a"]), ("", []), ("", [])]),
        ([b"a", b"b EN", b"D"], ("END",), [("a", [b"a"]), ("b ", [b"b EN"]), ("", [])]),
        ([b"EN", b"x"], ("END",), [("", []), ("ENx", [b"EN", b"x"]), ("", [])]),
        ([b"EN"], ("END",), [("", []), ("EN", [b"EN"])]),
        ([b"\xc3", b"\xa9!"], (), [("", []), ("é!", [b"\xc3", b"\xa9!"]), ("", [])]),
        ([b"a", b"\xc3"], (), [("a", [b"a"]), ("", []), ("\ufffd", [b"\xc3"])]),
        ([b"a\xc3", b"\xa9b"], ("é",), [("a", [b"a\xc3"]), ("", [])]),
        ([b"a", b""], (), [("a", [b"a"]), ("", []), ("", [b""])]),
    ],
)
def test_they_go_with_their_text(
    pieces: list[bytes], stop: tuple[str, ...], expected: list[tuple[str, list[bytes]]]
) -> None:
    assert _sent(pieces, stop) == expected
