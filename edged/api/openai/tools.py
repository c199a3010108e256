"""Functions that a model may call, as OpenAI's clients offer them."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from edged.api.errors import Unsupported
from edged.api.generation.order import Offer
from edged.errors import InvalidRequest
from edged.runner import protocol

MAX_TOOLS = 128  # OpenAI's own bound; the context is full long before

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.\-]{1,64}$")]
Schema = Annotated[dict[str, Any], Meta(description="A JSON schema of the arguments; calls are held to it.")]
Strict = Annotated[
    bool | None,
    Meta(description="Refuse a schema that calls cannot be held to; without it they may be any object then."),
]


class Function(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a function is and takes."""

    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: Strict = None


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function that the model may call."""

    type: Literal["function", "custom"]
    function: Function | None = None
    custom: Annotated[Any, Meta(description="Refused: offer a function.")] = None


class NamedFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function by its name."""

    name: str


class NamedTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool by its function's name."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Struct, kw_only=True, forbid_unknown_fields=True):
    """Some of the tools; the model is told of no others."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ChosenTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """The function that must be called, or those that may be."""

    type: Literal["function", "allowed_tools", "custom"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None
    custom: Annotated[Any, Meta(description="Refused: offer a function.")] = None


Choice = Annotated[
    Literal["none", "auto", "required"] | ChosenTool,
    Meta(description="Whether tools may or must be called, or which; calls that must be made are held to."),
]


class Choosing(NamedTuple):
    """A choice, whichever way it was written."""

    how: Literal["none", "auto", "required"] = "auto"
    among: Sequence[str] | None = None  # functions; None: all


def offer(tools: list[Tool] | None, choice: Choice | None, *, parallel: bool) -> Offer:
    """What a chat request offers. Raises InvalidRequest, Unsupported."""
    functions = [
        (_function(tool, f"tools[{n}]"), f"tools[{n}].function") for n, tool in enumerate(tools or ())
    ]
    return offer_of(functions, _choosing(choice), parallel=parallel)


def offer_of(functions: Sequence[tuple[Function, str]], choosing: Choosing, *, parallel: bool) -> Offer:
    """An offer of functions, each with where it stands in the request. Raises InvalidRequest."""
    tools: dict[str, protocol.Tool] = {}
    for function, path in functions:
        if function.name in tools:
            raise InvalidRequest(f"{path}.name: is there twice; give each function its own", f"{path}.name")
        parameters = "" if function.parameters is None else json.dumps(function.parameters)
        tools[function.name] = protocol.Tool(function.name, function.description or "", parameters)
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"tools: {len(tools)} are too many; at most {MAX_TOOLS} are accepted", "tools")
    chosen = tools if choosing.among is None else {name: tools.get(name) for name in choosing.among}
    known = tuple(tool for tool in chosen.values() if tool is not None)
    if len(known) < len(chosen):
        raise InvalidRequest("tool_choice: names a function that is not in tools", "tool_choice")
    if choosing.how == "required" and not known:
        raise InvalidRequest(
            "tool_choice: demands a call, but tools is empty; offer a function", "tool_choice"
        )
    strict = frozenset(function.name for function, _ in functions if function.strict)
    return Offer(known, choosing.how, parallel, strict)


def _choosing(choice: Choice | None) -> Choosing:
    if choice is None or isinstance(choice, str):
        return Choosing(choice or "auto")
    if choice.type == "function" and choice.function is not None:
        return Choosing("required", [choice.function.name])
    if choice.type == "allowed_tools" and (allowed := choice.allowed_tools) is not None:
        return Choosing(allowed.mode, [tool.function.name for tool in allowed.tools])
    if choice.type == "custom":
        raise Unsupported("tool_choice.type: custom tools are not supported; offer a function", "tool_choice")
    raise InvalidRequest(f"tool_choice.{choice.type}: is missing", f"tool_choice.{choice.type}")


def arguments(text: str, path: str) -> str:
    """The text of a call's arguments; some clients send none for no arguments. Raises InvalidRequest."""
    try:
        msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"{path}: is not the text of a JSON object", path) from error
    return text or "{}"


def _function(tool: Tool, path: str) -> Function:
    if tool.type == "custom":
        raise Unsupported(f"{path}.type: custom tools are not supported; offer a function", f"{path}.type")
    if tool.function is None:
        raise InvalidRequest(f"{path}.function: is missing", f"{path}.function")
    return tool.function
