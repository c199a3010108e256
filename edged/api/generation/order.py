"""What a conversation asks of a runner, by how its model writes: known once the model is loaded."""

import json
from functools import partial
from typing import Any, Literal

from msgspec import Struct, structs

from edged.api.errors import Unsupported
from edged.api.generation.call_rules import call_rules, generic_response
from edged.api.generation.course import Order, Ordered, Working
from edged.api.generation.events import Reader
from edged.api.json_schema import Grammar
from edged.api.json_schema.regular import TooLarge
from edged.api.reading import reader
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

_NO_ARGUMENTS = {"type": "object", "additionalProperties": False}
_ANY_ARGUMENTS = {"type": "object"}

Schema = tuple[Any, str]  # and where it stands in the request


class Offer(Struct, frozen=True):
    """The tools that a model may call, and what it is to do with them."""

    tools: tuple[protocol.Tool, ...] = ()
    choice: Literal["none", "auto", "required"] = "auto"
    parallel: bool = True  # several calls in one answer
    strict: frozenset[str] = frozenset()  # tools whose arguments' schemas must be held, or refused

    @property
    def callable(self) -> tuple[protocol.Tool, ...]:
        """What the model is told of: it would write calls of others as text."""
        return () if self.choice == "none" else self.tools


class Shape:
    """What answers may be: text, which a schema may describe, and calls of tools."""

    def __init__(self, offer: Offer, schema: Schema | None) -> None:
        """Raises InvalidRequest for what is no schema, Unsupported for what cannot be held."""
        self._offer = offer
        try:
            self._make(schema, held=True)
        except Unsupported:  # too much together: hold only what must be held
            if not offer.callable:
                raise
            self._make(schema, held=False)

    def _make(self, schema: Schema | None, *, held: bool) -> None:
        self._grammar = Grammar()
        self._response = None if schema is None else self._grammar.rule(*schema)
        self._arguments = {tool.name: self._arguments_rule(tool, held=held) for tool in self._offer.callable}
        if self._arguments and schema is None:
            self._grammar.rule({"type": "string"}, "tools")

    def _arguments_rule(self, tool: protocol.Tool, *, held: bool) -> str:
        """The rule for a tool's arguments: any object where they cannot be held, and need not be."""
        path = f"tools.{tool.name}.parameters"
        schema = json.loads(tool.parameters) if tool.parameters else _NO_ARGUMENTS
        kinds = schema.get("type", "object")
        if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
            raise InvalidRequest(f"{path}.type: is not object, as arguments are", "tools")
        strict = tool.name in self._offer.strict
        try:
            if held or strict:
                return self._grammar.rule({**schema, "type": "object"}, path)
        except Unsupported:
            if strict:
                raise
        return self._grammar.rule(_ANY_ARGUMENTS, path)

    def sampling(self, sampling: protocol.Sampling, style: protocol.ToolFormat) -> protocol.Sampling:
        """How to sample such answers of a model that writes calls in a `style`. Raises Unsupported."""
        if not self._arguments and self._response is None:
            return sampling
        try:
            grammar, triggers = self._rules(style)
        except TooLarge as error:
            raise Unsupported("tools: are too many for a grammar; offer fewer at once", "tools") from error
        return structs.replace(sampling, grammar=grammar, grammar_triggers=triggers, grammar_lets_think=True)

    def _rules(self, style: protocol.ToolFormat) -> tuple[str, tuple[str, ...]]:
        """The grammar, and where it begins to hold; nowhere: from the start."""
        rules = self._grammar.rules.copy()
        if not self._arguments:
            return rules.text(self._response or "string"), ()
        calls = call_rules(rules, style, self._arguments)
        call = calls.several if self._offer.parallel else calls.one
        if self._offer.choice == "required":
            return rules.text(call), ()
        if style == "generic":
            return rules.text(f"{call} | {generic_response(rules, self._response or 'string')}"), ()
        if self._response is not None:
            return rules.text(f"{call} | {self._response}"), ()
        return rules.text(call), calls.triggers


def order_of(generate: protocol.Generate, offer: Offer, schema: Schema | None = None) -> Order:
    """What asks for `generate`, held to a schema where no tool is called, and reads calls and reasoning.

    Raises InvalidRequest, Unsupported.
    """
    if generate.sampling.grammar is not None and (offer.callable or schema is not None):
        raise InvalidRequest("grammar: cannot shape an answer beside tools or a schema; send one", "grammar")
    shape = Shape(offer, schema)

    def order(handle: RunnerHandle) -> Ordered:
        chat = handle.chat or protocol.ChatFormat("generic")
        wanted = structs.replace(
            generate,
            tools=offer.callable,
            control_pieces=bool(offer.callable) or chat.reasoning is not None,
            sampling=shape.sampling(generate.sampling, chat.tools),
        )
        return Ordered(wanted, partial(_reader, offer, chat))

    return order


def _reader(offer: Offer, chat: protocol.ChatFormat, generation: Working) -> Reader:
    return reader(
        calls=chat.tools if offer.callable else None,
        tool_names=frozenset(tool.name for tool in offer.callable),
        reasoning=chat.reasoning,
        opens_reasoning=generation.opens_reasoning,
    )
