"""A call of a tool in JSON, `{"name": …, "arguments": {…}}`: its arguments are told as they are written."""

import json
import re
import secrets
import string
from typing import Any

from edged.api.generation.events import CallDelta, Delta
from edged.api.reading.json_text import LONGEST_EDGE, JsonSpan, end_of_object, may_have_first_key
from edged.api.reading.source import Parsing, Source

ToolNames = frozenset[str]

_HEAD = re.compile(
    r"""_*\{_*(?:"type"_*:_*"function"_*,_*)?"name"_*:_*("(?:[^"\\]|\\.)*")_*,"""
    r"""_*"(?:arguments|parameters)"_*:_*(?=\{)""".replace("_", r"[ \t\r\n]")
)
_KEYS = frozenset({"name", "arguments", "parameters", "type", "function", "id"})
_LETTERS = string.ascii_letters + string.digits
_N_LETTERS = 24
_N_LETTERS_SHORT = 9  # of an id without "call_", all that Mistral's templates take
_MOST_IN_VAIN = 1 << 20  # characters; else each beginning of a call is searched to the text's end


class CallParser:
    """Parses one answer's calls, by the names of the tools that there are."""

    def __init__(self, names: ToolNames, *, short_ids: bool = False) -> None:
        self._names = names
        self._short_ids = short_ids
        self._number = -1
        self._n_in_vain = 0  # characters that were searched for the ends of objects that are no calls

    def object(self, source: Source) -> Parsing[bool]:
        """A call that comes next; False when there is none: then nothing is taken.

        Where its fields come in another order, or with others between them, it is told as a whole. Once too
        much was looked through for such calls in vain, there are none of them any more.
        """
        span, n_seen = JsonSpan(), 0
        while True:
            edge = source.held[:LONGEST_EDGE]
            if (head := _HEAD.match(edge)) is not None:
                name = _said(head[1])
                if name not in self._names:
                    return False
                source.take(head.end())
                yield from self._call(source, name)
                yield from end_of_object(source)
                return True
            if not may_have_first_key(edge, _KEYS):
                return False
            if self._n_in_vain > _MOST_IN_VAIN:
                if len(edge) == LONGEST_EDGE or source.ended:
                    return False
            elif (end := span.end(source.held, n_seen)) is not None:
                return (yield from self._whole(source, end))
            elif source.ended:
                self._n_in_vain += len(source.held)
                return False
            n_seen = len(source.held)
            yield None

    def named(self, source: Source, head: re.Match[str]) -> Parsing[bool]:
        """A call with its name as the first group of `head`, and its arguments behind it; False: none."""
        if head[1] not in self._names:
            return False
        source.take(head.end())
        yield from self._call(source, head[1])
        return True

    def _call(self, source: Source, name: str) -> Parsing[None]:
        """Arguments that begin here."""
        yield self._begin(name)
        span = JsonSpan()
        while True:
            end = span.end(source.held)
            yield self._more(source.take(len(source.held) if end is None else end))
            if end is not None or source.ended:
                return
            yield None

    def _whole(self, source: Source, end: int) -> Parsing[bool]:
        name, arguments = _parts(source.held[:end])
        if name not in self._names or arguments is None:
            self._n_in_vain += end
            return False
        source.take(end)
        yield self._begin(name)
        yield self._more(json.dumps(arguments, ensure_ascii=False))
        return True

    def _begin(self, name: str) -> Delta:
        self._number += 1
        n_letters = _N_LETTERS_SHORT if self._short_ids else _N_LETTERS
        letters = "".join(secrets.choice(_LETTERS) for _ in range(n_letters))
        given = letters if self._short_ids else f"call_{letters}"
        return Delta(calls=(CallDelta(number=self._number, id=given, name=name),))

    def _more(self, arguments: str) -> Delta:
        call = CallDelta(number=self._number, arguments=arguments)
        return Delta(calls=(call,)) if arguments else Delta()


def _parts(text: str) -> tuple[Any, dict[str, Any] | None]:
    """Name and arguments of a call as any model may write it; None: there are none."""
    try:
        call = json.loads(text)
        call = call.get("function", call)
        if isinstance(call, str):  # {"function": "name", …}
            call = {"name": call, **json.loads(text)}
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):  # JSON in JSON, as OpenAI's own API writes it
            arguments = json.loads(arguments)
        name = call.get("name")
    except (ValueError, RecursionError, AttributeError):
        return None, None
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else (None, None)


def _said(text: str) -> Any:
    """What a JSON string says; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None
