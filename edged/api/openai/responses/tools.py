"""Functions as the responses API offers them: as in chats, but flat."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.generation.order import Offer
from edged.api.openai.tools import Choosing, Function, Name, Schema, Strict, offer_of


class Tool(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the model may call. Tools that OpenAI runs itself are not there."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: Strict = None
    output_schema: Annotated[Any, Meta(description="Changes nothing: results are read as text.")] = None


class NamedFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function by its name."""

    type: Literal["function"]
    name: str


class ChosenTool(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The function that must be called (`name`), or those that may or must be (`mode`, `tools`)."""

    type: Literal["function", "allowed_tools"]
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedFunction] = []


Choice = Annotated[
    Literal["none", "auto", "required"] | ChosenTool,
    Meta(description="Whether tools may or must be called, or which; calls that must be made are held to."),
]


def offer(tools: list[Tool] | None, choice: Choice | None, *, parallel: bool) -> Offer:
    """What a request offers. Raises InvalidRequest."""
    functions = [(_function(tool), f"tools[{index}]") for index, tool in enumerate(tools or ())]
    return offer_of(functions, _choosing(choice), parallel=parallel)


def _choosing(choice: Choice | None) -> Choosing:
    if choice is None or isinstance(choice, str):
        return Choosing(choice or "auto")
    if choice.type == "function":
        return Choosing("required", [choice.name or ""])
    return Choosing(choice.mode, [tool.name for tool in choice.tools])


def _function(tool: Tool) -> Function:
    return Function(
        name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
    )
