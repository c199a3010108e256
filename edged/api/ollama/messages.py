"""A conversation and tools as ollama's clients send them, and as a runner takes them."""

import json
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.errors import Unsupported
from edged.api.generation.order import Offer
from edged.api.openai.tools import Choosing, Function, offer_of
from edged.errors import InvalidRequest
from edged.runner import protocol

_Harmless = Annotated[Any, Meta(description="Changes nothing.")]


class CalledFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which function an earlier answer called, and with what."""

    name: str
    arguments: Annotated[dict[str, Any], Meta(description="By their names.")] = {}
    index: _Harmless = None
    description: _Harmless = None


class CallSent(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool call of an earlier answer that is sent back."""

    function: CalledFunction
    id: Annotated[str | None, Meta(description="By which a result may name it.")] = None
    type: _Harmless = None


class Message(Struct, kw_only=True, forbid_unknown_fields=True):
    """One message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: Annotated[
        str | None, Meta(description="What the assistant thought; templates may leave it out.")
    ] = None
    tool_calls: list[CallSent] | None = None
    tool_name: Annotated[str | None, Meta(description="Of role tool: the tool that gives this.")] = None
    tool_call_id: Annotated[str | None, Meta(description="Of role tool: the call that it answers.")] = None
    images: Annotated[list[Any] | None, Meta(description="Refused unless empty: models read text only.")] = (
        None
    )


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function that the model may call."""

    type: Literal["function"] = "function"
    function: Function


def conversation(messages: Sequence[Message]) -> tuple[protocol.Message, ...]:
    """The messages as a runner takes them. Raises InvalidRequest, Unsupported.

    Results need not say which call they answer: then they do so in the order of the calls, and templates that
    name a call or its tool are told all the same.
    """
    calls: deque[protocol.ToolCall] = deque()  # that wait for their results
    taken: list[protocol.Message] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _check(message, path)
        if message.role == "tool":
            taken.append(_result(message, calls, len(taken)))
            continue
        turn = _turn(message, len(taken))
        calls = deque(turn.tool_calls)
        taken.append(turn)
    return tuple(taken)


def offer(tools: Sequence[Tool] | None) -> Offer:
    """What a request offers. Raises InvalidRequest."""
    functions = [(tool.function, f"tools[{index}].function") for index, tool in enumerate(tools or ())]
    return offer_of(functions, Choosing(), parallel=True)


def _check(message: Message, path: str) -> None:
    """Whether each field belongs to a message of this role, and can be honoured."""
    if message.images:
        raise Unsupported(f"{path}.images: models here read text only; leave them out", f"{path}.images")
    of_role = {
        "tool_calls": "assistant",
        "thinking": "assistant",
        "tool_name": "tool",
        "tool_call_id": "tool",
    }
    for name, role in of_role.items():
        if getattr(message, name) and message.role != role:
            raise InvalidRequest(f"{path}.{name}: belongs to a message of role {role}", f"{path}.{name}")
    if message.content is None and not (message.tool_calls or message.thinking):
        raise InvalidRequest(f"{path}.content: is missing", f"{path}.content")


def _turn(message: Message, place: int) -> protocol.Message:
    return protocol.Message(
        message.role,
        message.content or "",
        reasoning=message.thinking or "",
        tool_calls=tuple(
            protocol.ToolCall(
                call.id or _id(place, number), call.function.name, json.dumps(call.function.arguments)
            )
            for number, call in enumerate(message.tool_calls or ())
        ),
    )


def _result(message: Message, calls: deque[protocol.ToolCall], place: int) -> protocol.Message:
    """A result, with the call that it answers taken from those that wait."""
    named = (
        call
        for call in calls
        if message.tool_call_id in (None, call.id) and message.tool_name in (None, call.name)
    )
    call = next(named, None)
    if call is not None:
        calls.remove(call)
    return protocol.Message(
        "tool",
        message.content or "",
        tool_call_id=message.tool_call_id or (call.id if call else _id(place, 0)),
        name=message.tool_name or (call.name if call else None),
    )


def _id(place: int, number: int) -> str:
    """Of a call that has none: nine characters, which is all that some templates take."""
    return f"{place:06d}{number:03d}"[-9:]
