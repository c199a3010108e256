"""Functions as the responses API offers them: as in chats, but flat."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.generation.order import Offer
from edged.api.openai.tools import Choosing, Description, Function, Name, Schema, Strict, offer_of


class Tool(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the model may call. Tools that OpenAI runs itself are not there."""

    type: Annotated[Literal["function"], Meta(description="There are no others here.")]
    name: Name
    description: Description | None = None
    parameters: Schema | None = None
    strict: Strict = None
    output_schema: Annotated[Any, Meta(description="Changes nothing: results are read as text.")] = None


class NamedFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function by its name."""

    type: Annotated[Literal["function"], Meta(description="There are no others here.")]
    name: Annotated[str, Meta(description="One of tools.")]


class ChosenTool(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The function that must be called (`name`), or those that may or must be (`mode`, `tools`)."""

    type: Annotated[Literal["function", "allowed_tools"], Meta(description="One of tools, or some.")]
    name: Annotated[str | None, Meta(description="It must be called, once.")] = None
    mode: Annotated[
        Literal["auto", "required"], Meta(description="Whether one of the allowed must be called.")
    ] = "auto"
    tools: Annotated[list[NamedFunction], Meta(description="Those that are allowed.")] = []


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
        return Choosing("required", [choice.name or ""], once=True)
    return Choosing(choice.mode, [tool.name for tool in choice.tools])


def _function(tool: Tool) -> Function:
    return Function(
        name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
    )
