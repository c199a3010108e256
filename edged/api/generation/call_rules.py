"""Grammars of tool calls, as families of models write them and `edged.api.reading` reads them.

Calls have their arguments' schemas, and at most one space where JSON allows any blanks. A model's own way to
write calls is kept to the letter: it has seen no other. A small one may go on calling for ever: the number of
calls has an end.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edged.api.json_schema.gbnf import Rules, literal
from edged.api.reading.formats import HERMES, LLAMA3, MISTRAL
from edged.runner.protocol import ToolFormat

_SPACE = '" "?'
_LINE = '"\\n"?'
MOST_CALLS = 16  # in one answer
_MORE = f"{{0,{MOST_CALLS - 1}}}"


class CallRules(NamedTuple):
    """The rule of one call and of several, and what a text says where it begins one."""

    one: str
    several: str
    triggers: tuple[str, ...]


def call_rules(rules: Rules, style: ToolFormat, arguments: Mapping[str, str]) -> CallRules:
    """Rules for calls of tools, by the names of the rules for their arguments. Raises TooLarge."""
    rules.define("sp", _SPACE)
    rules.define("line", _LINE)
    return {"hermes": _hermes, "llama3": _llama3, "mistral": _mistral, "generic": _generic}[style](
        rules, arguments
    )


def _hermes(rules: Rules, arguments: Mapping[str, str]) -> CallRules:
    opening, closing = HERMES
    call = _object(rules, arguments, "arguments")
    one = rules.add(f"{literal(opening)} line {call} line {literal(closing)}")
    more = rules.add(f"line {one}")
    return CallRules(one, rules.add(f"{one} {more}{_MORE}"), (opening,))


def _llama3(rules: Rules, arguments: Mapping[str, str]) -> CallRules:
    call = _object(rules, arguments, "parameters", before='("\\"type\\":" sp "\\"function\\"," sp)? ')
    begin = rules.add(f"{literal(LLAMA3)}?")
    more = rules.add(f'";" sp {call}')
    names = [json.dumps(name) for name in arguments]
    heads = ('{"name": ', '{"name":', '{"type": "function", "name": ')
    return CallRules(
        rules.add(f"{begin} {call}"),
        rules.add(f"{begin} {call} {more}{_MORE}"),
        (LLAMA3, *(f"^{head}{name}" for name in names for head in heads)),
    )


def _mistral(rules: Rules, arguments: Mapping[str, str]) -> CallRules:
    """In a list of objects, or, as newer models do, each by name."""
    call = _object(rules, arguments, "arguments")
    more = rules.add(f'"," sp {call}')
    middle = rules.add('("[CALL_ID]" [a-zA-Z0-9]{9,9})? "[ARGS]"')
    named = _by_name(rules, arguments, f"{middle} ", "")
    begin = literal(MISTRAL)
    another = rules.add(f"{begin} {named}")
    one = rules.add(f'sp "[" {call} "]" | {named}')
    several = rules.add(f'sp "[" {call} {more}{_MORE} "]" | {named} {another}{_MORE}')
    return CallRules(rules.add(f"{begin} {one}"), rules.add(f"{begin} {several}"), (MISTRAL,))


def _generic(rules: Rules, arguments: Mapping[str, str]) -> CallRules:
    call = _object(rules, arguments, "arguments")
    more = rules.add(f'"," sp {call}')
    begin, end = '"{\\"tool_calls\\":" sp "["', '"]}"'
    return CallRules(
        rules.add(f"{begin} {call} {end}"), rules.add(f"{begin} {call} {more}{_MORE} {end}"), triggers=()
    )


def generic_response(rules: Rules, response: str) -> str:
    """What is said without a call, by the rule of its value."""
    return rules.add(f'"{{\\"response\\":" sp {response} "}}"')


def _object(rules: Rules, arguments: Mapping[str, str], key: str, before: str = "") -> str:
    """`{"name": "…", "arguments": {…}}`"""
    named = _by_name(rules, arguments, f'"," sp {literal(json.dumps(key) + ":")} sp ', '"')
    return rules.add(f'"{{" {before}"\\"name\\":" sp "\\"" {named} "}}"')


def _by_name(rules: Rules, arguments: Mapping[str, str], between: str, end: str) -> str:
    """A tool's name and `end`, then its own arguments; names that begin alike branch where they differ."""

    def branch(rests: Sequence[tuple[str, str]]) -> str:
        common = _common_start([rest for rest, _ in rests])
        by_start: dict[str, list[tuple[str, str]]] = {}
        for rest, values in rests:
            left = rest[len(common) :]
            by_start.setdefault(left[:1], []).append((left, values))
        ways = [branch(group) if start else between + group[0][1] for start, group in by_start.items()]
        after = ways[0] if len(ways) == 1 else rules.add(" | ".join(ways))
        return f"{literal(common)} {after}" if common else after

    written = [(json.dumps(name)[1:-1] + end, values) for name, values in arguments.items()]
    return rules.add(branch(written))


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    differs = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differs, len(first))]
