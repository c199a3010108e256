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

Name = Annotated[
    str, Meta(pattern=r"^[a-zA-Z0-9_.\-]{1,64}$", description="The function's name, which no other has.")
]
Description = Annotated[str, Meta(description="What it does, for the model.")]
Schema = Annotated[dict[str, Any], Meta(description="A JSON schema of the arguments; calls are held to it.")]
Strict = Annotated[
    bool | None,
    Meta(description="Refuse a schema that calls cannot be held to; without it they may be any object then."),
]


class Function(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a function is and takes."""

    name: Name
    description: Description | None = None
    parameters: Schema | None = None
    strict: Strict = None


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function that the model may call."""

    type: Annotated[Literal["function", "custom"], Meta(description="custom is refused: offer a function.")]
    function: Annotated[Function | None, Meta(description="What may be called.")] = None
    custom: Annotated[Any, Meta(description="Refused: offer a function.")] = None


class NamedFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function by its name."""

    name: Annotated[str, Meta(description="One of tools.")]


class NamedTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool by its function's name."""

    type: Annotated[Literal["function"], Meta(description="There are no others here.")]
    function: Annotated[NamedFunction, Meta(description="Which.")]


class AllowedTools(Struct, kw_only=True, forbid_unknown_fields=True):
    """Some of the tools; the model is told of no others."""

    mode: Annotated[Literal["auto", "required"], Meta(description="Whether one of them must be called.")]
    tools: Annotated[list[NamedTool], Meta(description="Which.")]


class ChosenTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """The function that must be called, or those that may be."""

    type: Annotated[
        Literal["function", "allowed_tools", "custom"], Meta(description="Which of the others it has.")
    ]
    function: Annotated[NamedFunction | None, Meta(description="It must be called, once.")] = None
    allowed_tools: Annotated[AllowedTools | None, Meta(description="The model is told of no others.")] = None
    custom: Annotated[Any, Meta(description="Refused: offer a function.")] = None


Choice = Annotated[
    Literal["none", "auto", "required"] | ChosenTool,
    Meta(description="Whether tools may or must be called, or which; calls that must be made are held to."),
]


class Choosing(NamedTuple):
    """A choice, whichever way it was written."""

    how: Literal["none", "auto", "required"] = "auto"
    among: Sequence[str] | None = None  # functions; None: all
    once: bool = False  # small models would go on calling the one function that they may call


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
    return Offer(known, choosing.how, parallel and not choosing.once, strict)


def _choosing(choice: Choice | None) -> Choosing:
    if choice is None or isinstance(choice, str):
        return Choosing(choice or "auto")
    if choice.type == "function" and choice.function is not None:
        return Choosing("required", [choice.function.name], once=True)
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
