"""Whether a prompt fits a context. Pure, but for what it asks of a vocabulary.

To count the tokens of megabytes takes half a minute and a lot of memory, and nobody else is heard meanwhile.
So a text is refused before that if it were too long even in the vocabulary's longest tokens.
"""

from collections.abc import Callable
from typing import Protocol

from edged.errors import InvalidRequest

_CHARACTERS_PER_TOKEN = 64  # of a beginning that has more tokens than fit, blanks and all
_MARGIN_TOKENS = 64  # at a cut, where a word may have lost its end
_BYTES_PER_TOKEN = 16  # far more than any prompt has; beyond, the vocabulary's longest token counts


class MeasuredVocabulary(Protocol):
    """What knows how much its tokens hold."""

    def fewest_tokens(self, n_bytes: int) -> int:
        """How many tokens a text of so many bytes becomes at least; 0 where that cannot be told."""


def first_tokens(text: str, n_ctx: int, tokenize: Callable[[str], list[int]]) -> list[int]:
    """A text's tokens; of one that is far too long only more than `n_ctx`, which begin as all would."""
    length = _CHARACTERS_PER_TOKEN * n_ctx
    if len(text) > length:
        blank = text.rfind(" ", length - _CHARACTERS_PER_TOKEN, length)
        tokens = tokenize(text[: length if blank < 0 else blank])
        if len(tokens) > n_ctx + _MARGIN_TOKENS:
            return tokens
    return tokenize(text)


class Room:
    """A context's tokens, of which one is left for the answer."""

    def __init__(self, vocabulary: MeasuredVocabulary, n_ctx: int) -> None:
        self._vocabulary = vocabulary
        self._n_ctx = n_ctx

    def check_text(self, text: str, param: str) -> None:
        """Raises InvalidRequest for a text that cannot fit, without counting its tokens."""
        if len(text) <= _BYTES_PER_TOKEN * self._n_ctx:
            return
        n_least = self._vocabulary.fewest_tokens(len(text.encode()))
        if n_least >= self._n_ctx:
            raise self._too_long(f"at least {n_least}", param)

    def check(self, n_tokens: int, param: str) -> None:
        """Raises InvalidRequest for so many tokens of a prompt if they do not fit."""
        if not n_tokens:
            raise InvalidRequest(f"{param}: is empty; the model needs at least one token", param)
        if n_tokens >= self._n_ctx:
            raise self._too_long(str(n_tokens), param)

    def _too_long(self, count: str, param: str) -> InvalidRequest:
        return InvalidRequest(
            f"{param}: {count} tokens do not fit the model's context of {self._n_ctx}, of which at"
            " least one is needed for the answer; shorten it or raise models.<id>.n_ctx",
            param,
        )
