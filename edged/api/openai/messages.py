"""A conversation as OpenAI's clients send it, and as a runner takes it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.errors import Unsupported
from edged.api.openai.tools import arguments
from edged.errors import InvalidRequest
from edged.runner import protocol

# What a part may be, and what it is called in a refusal; models here read text only.
_NOT_READ = {"image_url": "images", "input_audio": "audio", "file": "files"}
_Refused = Annotated[Any, Meta(description="Refused: models read text only.")]
_Harmless = Annotated[Any, Meta(description="Changes nothing.")]


class Part(Struct, kw_only=True, forbid_unknown_fields=True):
    """A piece of a message's content."""

    type: Annotated[
        Literal["text", "refusal", "image_url", "input_audio", "file"],
        Meta(description="Which of the others it has; models read text only."),
    ]
    text: Annotated[str | None, Meta(description="Parts become lines of one text.")] = None
    refusal: Annotated[str | None, Meta(description="Of an earlier answer that is sent back.")] = None
    image_url: _Refused = None
    input_audio: _Refused = None
    file: _Refused = None
    prompt_cache_breakpoint: _Harmless = None


class CalledFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which function an earlier answer called, and with what."""

    name: Annotated[str, Meta(description="The function.")]
    arguments: Annotated[str, Meta(description="The text of a JSON object.")]
    parsed_arguments: _Harmless = None  # openai's client keeps what it parsed there


class CallSent(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool call of an earlier answer that is sent back."""

    id: Annotated[str, Meta(description="Results name it.")]
    function: Annotated[CalledFunction, Meta(description="What was called.")]
    type: Annotated[Literal["function"], Meta(description="There are no others here.")] = "function"
    index: _Harmless = None  # of a call that was put together from a stream


class Message(Struct, kw_only=True, forbid_unknown_fields=True):
    """One message."""

    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool", "function"],
        Meta(description="Who speaks; developer is system, and function is refused: it is outdated."),
    ]
    content: Annotated[
        str | list[Part] | None,
        Meta(description="What is said; of an assistant that calls tools, it may lack."),
    ] = None
    name: Annotated[str | None, Meta(description="Who speaks, or which tool; templates may show it.")] = None
    reasoning_content: Annotated[
        str | None, Meta(description="What the assistant thought; templates may leave it out.")
    ] = None
    tool_calls: Annotated[list[CallSent] | None, Meta(description="What the assistant called.")] = None
    tool_call_id: Annotated[str | None, Meta(description="Of role tool: the call that it answers.")] = None
    refusal: Annotated[str | None, Meta(description="Of an earlier answer that is sent back.")] = None
    function_call: Annotated[Any, Meta(description="Refused: send tool_calls.")] = None
    audio: _Refused = None
    annotations: _Harmless = None
    parsed: _Harmless = None


def conversation(messages: Sequence[Message]) -> tuple[protocol.Message, ...]:
    """The messages as a runner takes them. Raises InvalidRequest, Unsupported."""
    if not messages:
        raise InvalidRequest("messages: is empty; send at least one message", "messages")
    tools: dict[str, str] = {}  # that were called, by the call's id
    taken = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _check_belongings(message, path)
        turn = _result(message, tools, path) if message.role == "tool" else _turn(message, path)
        tools |= {call.id: call.name for call in turn.tool_calls}
        taken.append(turn)
    return tuple(taken)


def _check_belongings(message: Message, path: str) -> None:
    """Whether each field belongs to a message of this role."""
    if message.role == "function":
        raise Unsupported(f"{path}.role: the role function is outdated; send role tool", f"{path}.role")
    if message.function_call:
        raise Unsupported(f"{path}.function_call: is outdated; send tool_calls", f"{path}.function_call")
    if message.audio:
        raise Unsupported(f"{path}.audio: models here read text only; leave audio out", f"{path}.audio")
    of_role = {"tool_calls": "assistant", "reasoning_content": "assistant", "tool_call_id": "tool"}
    for name, role in of_role.items():
        if getattr(message, name) and message.role != role:
            raise InvalidRequest(f"{path}.{name}: belongs to a message of role {role}", f"{path}.{name}")


def _turn(message: Message, path: str) -> protocol.Message:
    calls = tuple(
        _call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())
    )
    content = message.content
    if content is None and message.role == "assistant":
        content = message.refusal or ("" if calls or message.reasoning_content else None)
    return protocol.Message(
        "system" if message.role == "developer" else message.role,
        _text(content, path),
        reasoning=message.reasoning_content or "",
        tool_calls=calls,
        name=message.name,
    )


def _result(message: Message, tools: dict[str, str], path: str) -> protocol.Message:
    """What a tool gave; templates that name the tool learn it from the call."""
    if message.tool_call_id is None:
        raise InvalidRequest(
            f"{path}.tool_call_id: is missing; say which call this answers", f"{path}.tool_call_id"
        )
    return protocol.Message(
        "tool",
        _text(message.content, path),
        tool_call_id=message.tool_call_id,
        name=message.name or tools.get(message.tool_call_id),
    )


def _call(call: CallSent, path: str) -> protocol.ToolCall:
    return protocol.ToolCall(
        call.id, call.function.name, arguments(call.function.arguments, f"{path}.function.arguments")
    )


def _text(content: str | list[Part] | None, path: str) -> str:
    if content is None:
        raise InvalidRequest(f"{path}.content: is missing", f"{path}.content")
    if isinstance(content, str):
        return content
    return "\n".join(_of_part(part, f"{path}.content[{index}]") for index, part in enumerate(content))


def _of_part(part: Part, path: str) -> str:
    for name, what in _NOT_READ.items():
        if part.type == name or getattr(part, name) is not None:
            raise Unsupported(
                f"{path}.{name}: models here read text only; leave {what} out", f"{path}.{name}"
            )
    text = part.refusal if part.type == "refusal" else part.text
    if text is None:
        raise InvalidRequest(f"{path}.{part.type}: is missing", f"{path}.{part.type}")
    return text
