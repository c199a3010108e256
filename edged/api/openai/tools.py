"""Functions that a model may call, as OpenAI's clients offer them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edged.api.errors import Unsupported
from edged.api.generation.order import Offer
from edged.errors import InvalidRequest
from edged.runner import protocol

MAX_TOOLS = 128  # OpenAI's own bound; the context is full long before

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.\-]{1,64}$")]
Schema = Annotated[dict[str, Any], Meta(description="A JSON schema of the arguments; calls are held to it.")]
Strict = Annotated[bool | None, Meta(description="Changes nothing: calls are held to the schema anyway.")]


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


def offer(tools: list[Tool] | None, choice: Choice | None, *, parallel: bool) -> Offer:
    """What a chat request offers. Raises InvalidRequest, Unsupported."""
    functions = [_function(tool, f"tools[{index}]") for index, tool in enumerate(tools or ())]
    known = offered((function, f"tools[{index}].function") for index, function in enumerate(functions))
    if choice is None or isinstance(choice, str):
        return chosen(known, choice or "auto", None, parallel=parallel)
    if choice.type == "function" and choice.function is not None:
        return chosen(known, "required", [choice.function.name], parallel=parallel)
    if choice.type == "allowed_tools" and (allowed := choice.allowed_tools) is not None:
        names = [tool.function.name for tool in allowed.tools]
        return chosen(known, allowed.mode, names, parallel=parallel)
    if choice.type == "custom":
        raise Unsupported("tool_choice.type: custom tools are not supported; offer a function", "tool_choice")
    raise InvalidRequest(f"tool_choice.{choice.type}: is missing", f"tool_choice.{choice.type}")


def offered(functions: Iterable[tuple[Function, str]]) -> dict[str, protocol.Tool]:
    """Functions, each with where it stands in the request, as tools by their names. Raises InvalidRequest."""
    tools: dict[str, protocol.Tool] = {}
    for function, path in functions:
        if function.name in tools:
            raise InvalidRequest(f"{path}.name: is there twice; give each function its own", f"{path}.name")
        parameters = "" if function.parameters is None else json.dumps(function.parameters)
        tools[function.name] = protocol.Tool(function.name, function.description or "", parameters)
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"tools: {len(tools)} are too many; at most {MAX_TOOLS} are accepted", "tools")
    return tools


def chosen(
    tools: Mapping[str, protocol.Tool],
    choice: Literal["none", "auto", "required"],
    names: Sequence[str] | None,
    *,
    parallel: bool,
) -> Offer:
    """An offer of those tools that are named, or all. Raises InvalidRequest."""
    if names is not None:
        unknown = [name for name in names if name not in tools]
        if unknown:
            raise InvalidRequest("tool_choice: names a function that is not in tools", "tool_choice")
        tools = {name: tools[name] for name in names}
    if choice == "required" and not tools:
        raise InvalidRequest(
            "tool_choice: demands a call, but tools is empty; offer a function", "tool_choice"
        )
    return Offer(tuple(tools.values()), choice, parallel)


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
