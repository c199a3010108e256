"""Stop strings and UTF-8 across token boundaries."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.runner.engine.text import TextStream


def _run(pieces: list[bytes], stop: tuple[str, ...]) -> tuple[str, bool]:
    stream = TextStream(stop)
    text = ""
    for piece in pieces:
        text += stream.push(piece)
        if stream.stopped:
            return text, True
    return text + stream.finish(), stream.stopped


def test_a_character_is_sent_whole() -> None:
    stream = TextStream()
    assert stream.push("é".encode()[:1]) == ""
    assert stream.push("é".encode()[1:]) == "é"


def test_an_unfinished_character_ends_as_a_replacement() -> None:
    assert _run(["é".encode()[:1]], ()) == ("�", False)


def test_nothing_of_a_stop_string_is_sent() -> None:
    assert _run([b"one E", b"N", b"D two"], ("END",)) == ("one ", True)


def test_what_only_looked_like_a_stop_string_is_sent() -> None:
    assert _run([b"one E", b"N", b"d two"], ("END",)) == ("one ENd two", False)


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert _run([b"a B c A"], ("A", "B")) == ("a ", True)


def test_a_stop_string_inside_a_multibyte_character_boundary() -> None:
    raw = "x→STOP".encode()
    assert _run([raw[:2], raw[2:3], raw[3:6], raw[6:]], ("→S",)) == ("x", True)


@given(
    text=st.text(alphabet="abé→", max_size=30),
    stops=st.lists(st.text(alphabet="abé→", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 90), max_size=10),
)
def test_pieces_of_any_size_give_the_same_as_one(text: str, stops: list[str], cuts: list[int]) -> None:
    raw = text.encode()
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    sent, stopped = _run(pieces, tuple(stops))
    assert stopped == bool(found)
    if not found:
        assert sent == text
    else:  # in pieces, a stop string that ends first can win over one that begins first
        assert text.startswith(sent)
        assert not any(stop in sent for stop in stops)


@pytest.mark.parametrize("stop", ["a", "aa", "aab"])
def test_finish_after_a_stop_gives_nothing(stop: str) -> None:
    stream = TextStream((stop,))
    stream.push(b"aab")
    assert stream.stopped
    assert stream.finish() == ""
