"""How families of models write that they call tools: for each a parser of a whole answer.

What looks like a call and is none (no JSON, no tool of that name) is text.
"""

import re
from collections.abc import Callable

from edged.api.reading.calls import CallParser
from edged.api.reading.json_text import end_of_object, may_have_first_key, value
from edged.api.reading.source import (
    BLANKS,
    Parsing,
    Source,
    as_text,
    begins,
    character,
    everything,
    skip,
    until,
)
from edged.runner.protocol import ToolFormat

HERMES = ("<tool_call>", "</tool_call>")
LLAMA3 = "<|python_tag|>"
MISTRAL = "[TOOL_CALLS]"
_MISTRAL_HEAD = re.compile(r"\s*([^\s\[\]{}]+)(?:\[CALL_ID\][^\s\[\]{}]*)?\[ARGS\]\s*(?=\{)")
_MISTRAL_LONGEST_HEAD = 256
_GENERIC_HEAD = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"(\w+)"\s*:\s*(?=\S)')
_GENERIC_KEYS = frozenset({"response", "tool_calls"})


def _hermes(calls: CallParser, source: Source) -> Parsing[None]:
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as often as wanted (Hermes, Qwen, SmolLM3)."""
    opening, closing = HERMES
    while (yield from until(source, opening, as_text)):
        if (yield from calls.object(source)):
            yield from begins(source, closing)
            yield from skip(source)
        else:
            yield as_text(opening)


def _llama3(calls: CallParser, source: Source) -> Parsing[None]:
    """`{"name": …, "parameters": {…}}` as the whole answer or after `<|python_tag|>`, one or more."""
    if (yield from character(source)) == "{":
        yield from _row(calls, source, BLANKS + ";")
    while (yield from until(source, LLAMA3, as_text)):
        if not (yield from _row(calls, source, BLANKS + ";")):
            yield as_text(LLAMA3)


def _mistral(calls: CallParser, source: Source) -> Parsing[None]:
    """`[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or in newer models `[TOOL_CALLS]name[ARGS]{…}`."""
    while (yield from until(source, MISTRAL, as_text)):
        if (yield from begins(source, "[")):
            if (yield from _row(calls, source, BLANKS + ",")):
                yield from begins(source, "]")
                yield from skip(source)
            else:
                yield as_text(MISTRAL + "[")
        elif not (yield from _mistral_named(calls, source)):
            yield as_text(MISTRAL)


def _mistral_named(calls: CallParser, source: Source) -> Parsing[bool]:
    while "{" not in source.held and len(source.held) < _MISTRAL_LONGEST_HEAD and not source.ended:
        yield None
    head = _MISTRAL_HEAD.match(source.held[:_MISTRAL_LONGEST_HEAD])
    if head is None or not (yield from calls.named(source, head)):
        return False
    yield from skip(source)
    return True


def _generic(calls: CallParser, source: Source) -> Parsing[None]:
    """`{"response": …}` or `{"tool_calls": [{"name": …, "arguments": {…}}, …]}`, held by a grammar."""
    while (head := _GENERIC_HEAD.match(source.held)) is None:
        if source.ended or not may_have_first_key(source.held, _GENERIC_KEYS):
            break
        yield None
    if head is None or head[1] not in _GENERIC_KEYS:
        yield from everything(source)
        return
    taken = source.take(head.end())
    if head[1] == "response":
        yield from value(source)
    elif not (yield from begins(source, "[")):
        yield as_text(taken)
    elif (yield from _row(calls, source, BLANKS + ",")):
        yield from begins(source, "]")
    else:
        yield as_text(taken + "[")
    yield from end_of_object(source)
    yield from skip(source)
    yield from everything(source)


def _row(calls: CallParser, source: Source, between: str) -> Parsing[bool]:
    """One call after the other; whether there was any."""
    any_call = False
    while (yield from calls.object(source)):
        any_call = True
        yield from skip(source, between)
    return any_call


PARSERS: dict[ToolFormat, Callable[[CallParser, Source], Parsing[None]]] = {
    "hermes": _hermes,
    "llama3": _llama3,
    "mistral": _mistral,
    "generic": _generic,
}
