"""Keeps the texts of control tokens apart where they come from others than the template.

Only the template's own text may be parsed for control tokens; otherwise a message that contains the text of
one could end its turn and speak as somebody else. So before a conversation is rendered, what spells one is
replaced by a mark, and only tokenising brings it back, as plain text. Nearly always there is nothing to hide,
and a conversation is tokenised in one piece, as every other server does it.
"""

import re
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

_LONGEST_TAIL = 64  # of a control token's text, at the end of a message
_LONG = 1 << 18  # characters whose tokens would take longer than a search for all that could be one
_APART = "\x01"  # a byte's token in every vocabulary that has it at all
_PLAIN_TAIL = re.compile(r"[\w\s.,;:!?'\"()-]*")  # what no control token's text begins with


class VocabularyLike(Protocol):
    """What prompts need of a vocabulary."""

    bos_text: str
    eos_text: str
    adds_bos: bool

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Tokens of `text`."""

    def control_texts(self) -> list[str]:
        """The text of every control token."""


class ControlTexts:
    """The control tokens of a vocabulary, and how texts could come to spell them."""

    def __init__(self, vocabulary: VocabularyLike, deleted: Sequence[str] = ()) -> None:
        """`deleted`: what the template takes out of texts, whose rests then stand side by side."""
        self.vocabulary = vocabulary
        self._deleted = deleted

    def may_be_spelled(self, texts: Sequence[str]) -> bool:
        """Whether any text has to be looked at closely, found out without walking the vocabulary."""
        if any(not _PLAIN_TAIL.fullmatch(text.rstrip()[-_LONGEST_TAIL:]) for text in texts):
            return True
        if sum(map(len, texts)) > _LONG:
            return True
        joined = "\n".join(texts)
        return any(each in joined for each in self._deleted) or self._is_spelled(joined)

    def hide(self, text: str, mark: Callable[[str], str]) -> str:
        """The text with marks where it spells control tokens, or would with what follows it."""
        shorter = text
        for each in self._deleted:
            shorter = shorter.replace(each, "")
        if shorter != text and (len(shorter) > _LONG or self._is_spelled(shorter)):
            text = re.sub("|".join(map(re.escape, self._deleted)), lambda found: mark(found.group()), text)
        if self._texts:
            text = self._pattern.sub(lambda found: mark(found.group()), text)
        bare = text.rstrip()
        n_tail = self._tail(bare)
        return bare[: len(bare) - n_tail] + mark(bare[-n_tail:]) + text[len(bare) :] if n_tail else text

    def continued(self, text: str, *, parse_special: bool) -> list[int]:
        """Tokens of a text that goes on where another has ended.

        Some vocabularies put a space before every text: it is cut off with a character that merges with none.
        """
        before = self._before
        if len(before) == 1:
            return self.vocabulary.tokenize(text, add_special=False, parse_special=parse_special)
        tokens = self.vocabulary.tokenize(_APART + text, add_special=False, parse_special=parse_special)
        return tokens[len(before) :]

    @cached_property
    def _before(self) -> list[int]:
        return self.vocabulary.tokenize(_APART, add_special=False, parse_special=False)

    def _is_spelled(self, text: str) -> bool:
        tokenize = self.vocabulary.tokenize
        as_control = tokenize(text, add_special=False, parse_special=True)
        return as_control != tokenize(text, add_special=False, parse_special=False)

    def _tail(self, text: str) -> int:
        """How many of the last characters are the beginning of a control token's text."""
        for length in range(min(_LONGEST_TAIL, len(text)), 0, -1):
            tail = text[-length:]
            at = bisect_left(self._texts, tail)
            if at < len(self._texts) and self._texts[at].startswith(tail):
                return length
        return 0

    @cached_property
    def _texts(self) -> list[str]:
        return sorted(set(filter(None, self.vocabulary.control_texts())))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_longest_of(self._texts))


class Marks:
    """Of one conversation."""

    def __init__(self, controls: ControlTexts) -> None:
        self._controls = controls
        # digits only: no filter of a template changes them, and nobody knows them before
        self._nonce = f"{secrets.randbelow(10**20):020}"
        self._hidden: list[str] = []
        self._pattern = re.compile(self._nonce + r"(\d{6})")

    def hide(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same variables, with marks for what must not become control tokens."""
        if not self._controls.may_be_spelled(list(_texts_of(variables))):
            return variables
        hidden: Mapping[str, Any] = self._hide(variables)
        return hidden

    def _hide(self, value: Any) -> Any:
        match value:
            case str():
                return self._controls.hide(value, self._mark)
            case dict():
                return {self._hide(key): self._hide(each) for key, each in value.items()}
            case list():
                return [self._hide(each) for each in value]
        return value

    def _mark(self, text: str) -> str:
        self._hidden.append(text)
        return f"{self._nonce}{len(self._hidden) - 1:06}"

    def text(self, rendered: str) -> str:
        """What was rendered, as it would be without marks."""
        return self._pattern.sub(lambda found: self._hidden[int(found[1])], rendered)

    def tokens(self, rendered: str, *, add_special: bool = True) -> list[int]:
        """What was rendered, with control tokens where the template has put them."""
        first, *rest = self._pattern.split(rendered)
        tokens = self._controls.vocabulary.tokenize(first, add_special=add_special, parse_special=True)
        for index, piece in enumerate(rest):
            hidden = index % 2 == 0
            text = self._hidden[int(piece)] if hidden else piece
            tokens += self._controls.continued(text, parse_special=not hidden) if text else []
        return tokens


def _texts_of(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, each in value.items():
                yield from _texts_of(key)
                yield from _texts_of(each)
        case list():
            for each in value:
                yield from _texts_of(each)


def _longest_of(texts: Sequence[str]) -> str:
    """A regular expression for the longest of `texts`, branching where they differ.

    Side by side, the thousands of some vocabularies would all be tried at each character that begins one.
    """
    rests: dict[str, list[str]] = {}
    for text in filter(None, texts):
        rests.setdefault(text[0], []).append(text[1:])
    branches = [re.escape(first) + _longest_of(rest) for first, rest in rests.items()]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + ("?" if "" in texts else "")
