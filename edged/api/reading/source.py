"""Text that comes in pieces, and parsers of it that wait for more where they cannot decide yet.

A parser is a generator: it yields what it has read, and None where it needs more text. What it does depends
on what is there, never on how much of it is there already: so the cuts between pieces do not matter.
"""

from collections.abc import Callable, Generator
from typing import TypeVar

from edged.api.generation.events import CallDelta, Delta

_Result = TypeVar("_Result")
Parsing = Generator[Delta | None, None, _Result]

BLANKS = " \t\r\n"


class Source:
    """The text that has come and was not taken yet."""

    def __init__(self) -> None:
        self.held = ""
        self.ended = False

    def take(self, count: int) -> str:
        """The next characters."""
        taken, self.held = self.held[:count], self.held[count:]
        return taken


class Stream:
    """A reader that runs a parser over what comes."""

    def __init__(self, parse: Callable[[Source], Parsing[None]]) -> None:
        self._source = Source()
        self._parsing = parse(self._source)

    def push(self, text: str) -> list[Delta]:
        """What is certain after `text`."""
        self._source.held += text
        return self._read()

    def finish(self) -> list[Delta]:
        """What was held back, at the end of the answer."""
        self._source.ended = True
        return self._read()

    def _read(self) -> list[Delta]:
        made: list[Delta] = []
        for delta in self._parsing:
            if delta is None:
                break
            both = joined(made[-1], delta) if made else None
            if both is not None:
                made[-1] = both
            elif delta:
                made.append(delta)
        return made


def as_text(text: str) -> Delta:
    """A piece of the answer's text."""
    return Delta(text=text)


def everything(source: Source) -> Parsing[None]:
    """All that comes is text, to the end."""
    while source.held or not source.ended:
        yield as_text(source.take(len(source.held)))
        if not source.ended:
            yield None


def until(source: Source, mark: str, made: Callable[[str], Delta]) -> Parsing[bool]:
    """What comes before a mark, which is taken, without the blanks before it.

    False at an end without the mark, when all was yielded.
    """
    while True:
        at = source.held.find(mark)
        if at >= 0:
            yield made(source.take(at).rstrip(BLANKS))
            source.take(len(mark))
            return True
        if source.ended:
            yield made(source.take(len(source.held)))
            return False
        n_certain = len(source.held) - overlap(source.held, mark)
        yield made(source.take(len(source.held[:n_certain].rstrip(BLANKS))))
        yield None


def begins(source: Source, mark: str) -> Parsing[bool]:
    """Whether a mark comes next, after blanks at most: then both are taken."""
    while True:
        rest = source.held.lstrip(BLANKS)
        if rest.startswith(mark):
            source.take(len(source.held) - len(rest) + len(mark))
            return True
        if source.ended or not mark.startswith(rest):
            return False
        yield None


def character(source: Source) -> Parsing[str]:
    """The next character that is no blank, and stays; empty at the end."""
    while True:
        rest = source.held.lstrip(BLANKS)
        if rest or source.ended:
            return rest[:1]
        yield None


def skip(source: Source, characters: str = BLANKS) -> Parsing[None]:
    """Leave these characters out."""
    while True:
        source.held = source.held.lstrip(characters)
        if source.held or source.ended:
            return
        yield None


def joined(one: Delta, other: Delta) -> Delta | None:
    """Both in one, where the second continues the first."""
    if one.calls or other.calls:
        if not (one.calls and other.calls):
            return None
        [first], [more] = one.calls, other.calls
        if first.number != more.number:
            return None
        call = CallDelta(
            number=first.number,
            id=first.id,
            name=first.name,
            arguments=first.arguments + more.arguments,
        )
        return Delta(calls=(call,))
    if (one.text and other.reasoning) or (one.reasoning and other.text):
        return None
    return Delta(text=one.text + other.text, reasoning=one.reasoning + other.reasoning)


def overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that begins `mark` and is not all of it."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
