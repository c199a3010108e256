"""What does not fit a context is refused, and what cannot fit before its tokens are counted."""

import pytest

from edged.errors import InvalidRequest
from edged.runner.engine.room import Room, first_tokens


class Measured:
    """Tokens of up to 20 bytes; of some vocabularies nothing is known."""

    def __init__(self, longest_bytes: int | None = 20) -> None:
        self._longest_bytes = longest_bytes
        self.n_asked = 0

    def fewest_tokens(self, n_bytes: int) -> int:
        self.n_asked += 1
        return 0 if self._longest_bytes is None else n_bytes // self._longest_bytes


@pytest.mark.parametrize("text", ["x" * 1999, "\n" * 1600, "€" * 666])
def test_a_text_that_may_fit_is_let_through(text: str) -> None:
    Room(Measured(), 100).check_text(text, "prompt")


@pytest.mark.parametrize("text", ["x" * 2000, "€" * 1601])
def test_a_text_that_cannot_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"messages: at least \d+ tokens do not fit .* 100,"):
        Room(Measured(), 100).check_text(text, "messages")


def test_a_text_of_a_vocabulary_that_may_leave_it_out_is_let_through() -> None:
    Room(Measured(None), 100).check_text("x" * 10**6, "prompt")


def test_the_vocabulary_is_not_walked_for_what_is_short() -> None:
    vocabulary = Measured()
    Room(vocabulary, 100).check_text("x" * 1600, "prompt")
    assert not vocabulary.n_asked


@pytest.mark.parametrize(("n_tokens", "problem"), [(0, "is empty"), (100, "100 tokens do not fit"), (99, "")])
def test_a_place_is_left_for_the_answer(n_tokens: int, problem: str) -> None:
    room = Room(Measured(), 100)
    if not problem:
        return room.check(n_tokens, "prompt")
    with pytest.raises(InvalidRequest, match=f"prompt: {problem}"):
        room.check(n_tokens, "prompt")
    return None


def _words(text: str) -> list[int]:
    """A token for each letter, and what ends every input; blanks are left out."""
    assert len(text) <= 64 * 100 or not text.strip(), "all of a text that is far too long was tokenised"
    return [*map(ord, "".join(text.split())), 0]


@pytest.mark.parametrize("text", ["ab " * 10**6, "é" * 10**6])
def test_of_a_text_that_is_far_too_long_only_the_beginning_is_looked_at(text: str) -> None:
    tokens = first_tokens(text, 100, _words)
    assert len(tokens) > 100
    assert tokens[:100] == [*map(ord, "".join(text[:200].split()))][:100]


@pytest.mark.parametrize("text", ["", "ab", " " * 10**6, "ab" * 3000])
def test_of_a_text_that_may_fit_all_is_looked_at(text: str) -> None:
    assert first_tokens(text, 100, _words) == _words(text)


def test_a_word_is_not_cut_where_a_blank_is_near() -> None:
    asked: list[str] = []

    def tokenize(text: str) -> list[int]:
        asked.append(text)
        return [0] * 200

    first_tokens("words " * 2000, 100, tokenize)
    assert asked[0].endswith(" words")
