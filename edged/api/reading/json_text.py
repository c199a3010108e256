"""JSON that is read while it comes: where a value ends, and what a string says."""

import json
import re

from edged.api.reading.source import BLANKS, Parsing, Source, as_text, character, skip

_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\"\\/bfnrt])"
)
LONGEST_EDGE = 1024  # characters: what stands in an object before and after the one value that matters
_LONGEST_ESCAPE = len("\\ud83d\\ude80")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonSpan:
    """Where an object or array ends. Whether it is valid inside is for others to say."""

    def __init__(self, depth: int = 0) -> None:
        """`depth` of its brackets have been opened before."""
        self._depth = depth
        self._in_string = False
        self._escaped = False

    def end(self, text: str, begin: int = 0) -> int | None:
        """The index behind its end, if that is in `text`; what is before `begin` has been seen."""
        for at in range(begin, len(text)):
            if self._ends(text[at]):
                return at + 1
        return None

    def _ends(self, each: str) -> bool:
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = each == "\\"
            self._in_string = each != '"'
        elif each == '"':
            self._in_string = True
        elif each in "{[":
            self._depth += 1
        elif each in "}]":
            self._depth -= 1
            return self._depth == 0
        return False


def may_have_first_key(text: str, keys: frozenset[str]) -> bool:
    """Whether `text` begins an object whose first key is one of these; also when that cannot be said yet."""
    for sign in '{"':
        text = text.lstrip(BLANKS)
        if text and text[0] != sign:
            return False
        text = text[1:]
    key, closed, _ = text.partition('"')
    return key in keys if closed else any(each.startswith(key) for each in keys)


def end_of_object(source: Source) -> Parsing[None]:
    """The rest of an object after a value in it; nothing is taken where it has no end, or none nearby."""
    span, n_seen = JsonSpan(depth=1), 0
    if (yield from character(source)) not in (",", "}"):
        return
    while True:
        edge = source.held[:LONGEST_EDGE]
        end = span.end(edge, n_seen)
        if end is not None:
            source.take(end)
        if end is not None or len(edge) == LONGEST_EDGE or source.ended:
            return
        n_seen = len(edge)
        yield None


def value(source: Source) -> Parsing[None]:
    """A value as text: what a string says, the JSON of all others."""
    first = yield from character(source)
    yield from skip(source)
    if first == '"':
        yield from _string(source)
        return
    span = JsonSpan()
    while True:
        if first and first in "{[":
            end = span.end(source.held)
        else:
            end = next((at for at, each in enumerate(source.held) if each in ",}" + BLANKS), None)
        yield as_text(source.take(len(source.held) if end is None else end))
        if end is not None or source.ended:
            return
        yield None


def _string(source: Source) -> Parsing[None]:
    source.take(1)
    while True:
        plain = re.match(r'[^"\\]*', source.held)
        yield as_text(source.take(plain.end() if plain else 0))
        if source.held.startswith('"'):
            source.take(1)
            return
        if source.held.startswith("\\u") and len(source.held) < _LONGEST_ESCAPE and not source.ended:
            yield None
        elif escape := _ESCAPE.match(source.held):
            said = json.loads(f'"{source.take(escape.end())}"')
            yield as_text(_LONE_SURROGATE.sub("\ufffd", said))
        elif len(source.held) > 1 or source.ended:
            yield as_text(source.take(1))
            if source.ended and not source.held:
                return
        else:
            yield None
