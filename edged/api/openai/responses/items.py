"""A conversation as the responses API's items, and as a runner takes it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, structs

from edged.api.errors import Unsupported
from edged.api.openai.tools import arguments
from edged.errors import InvalidRequest
from edged.runner import protocol

_NOT_READ = {
    "image_url": "images",
    "input_audio": "audio",
    **dict.fromkeys(("file_id", "file_data", "file_url"), "files"),
}
_NOT_READ_TYPES = {"input_image": "images", "input_audio": "audio", "input_file": "files"}
_Value = TypeVar("_Value")

_Refused = Annotated[Any, Meta(description="Refused: models read text only.")]
_Harmless = Annotated[Any, Meta(description="Changes nothing.")]


class Part(Struct, kw_only=True, forbid_unknown_fields=True):
    """A piece of an item's content."""

    type: Annotated[
        Literal[
            "input_text", "output_text", "reasoning_text", "text", "refusal",
            "input_image", "input_audio", "input_file",
        ],
        Meta(description="Models read text only."),
    ]  # fmt: skip
    text: Annotated[str | None, Meta(description="Parts become lines of one text.")] = None
    refusal: Annotated[str | None, Meta(description="Of an earlier answer that is sent back.")] = None
    annotations: _Harmless = None
    logprobs: _Harmless = None
    prompt_cache_breakpoint: _Harmless = None
    detail: _Harmless = None  # of an image, which is refused
    image_url: _Refused = None
    input_audio: _Refused = None
    file_id: _Refused = None
    file_data: _Refused = None
    file_url: _Refused = None
    filename: _Harmless = None  # of a file, which is refused


class Summary(Struct, kw_only=True, forbid_unknown_fields=True):
    """A piece of what reasoning was summarised to."""

    type: Annotated[Literal["summary_text"], Meta(description="There are no others.")]
    text: Annotated[str, Meta(description="Its text.")]


class Item(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message (`role`, `content`), a call, its result, or reasoning; each may be an earlier answer's."""

    type: Annotated[
        Literal["message", "function_call", "function_call_output", "reasoning", "item_reference"],
        Meta(description="What it is. References are refused: answers are not kept."),
    ] = "message"
    role: Annotated[
        Literal["user", "assistant", "system", "developer"] | None,
        Meta(description="Of a message: who speaks; developer is system."),
    ] = None
    content: Annotated[
        str | list[Part] | None, Meta(description="Of a message or reasoning: what is said.")
    ] = None
    call_id: Annotated[str | None, Meta(description="Of a call and of its result.")] = None
    name: Annotated[str | None, Meta(description="Of a call: the function.")] = None
    arguments: Annotated[str | None, Meta(description="Of a call: the text of a JSON object.")] = None
    output: Annotated[str | list[Part] | None, Meta(description="Of a result: what the call gave.")] = None
    summary: Annotated[list[Summary] | None, Meta(description="Of reasoning that has no content.")] = None
    id: _Harmless = None
    status: _Harmless = None
    phase: _Harmless = None
    encrypted_content: Annotated[
        None, Meta(description="Refused: reasoning that others have encrypted cannot be read.")
    ] = None
    parsed_arguments: _Harmless = None  # openai's client keeps what it parsed there
    caller: _Harmless = None


_BELONGINGS = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output", "name"),
    "reasoning": ("content", "summary"),
    "item_reference": (),
}


def conversation(instructions: str | None, given: str | Sequence[Item]) -> tuple[protocol.Message, ...]:
    """The messages as a runner takes them: an answer's items are one message. Raises InvalidRequest."""
    items = [Item(role="user", content=given)] if isinstance(given, str) else given
    if not items:
        raise InvalidRequest("input: is empty; send at least one message", "input")
    told = [protocol.Message("system", instructions)] if instructions else []
    tools: dict[str, str] = {}  # that were called, by the call's id
    for index, item in enumerate(items):
        path = "input" if isinstance(given, str) else f"input[{index}]"
        _take(told, item, tools, path)
    return tuple(told)


def _take(told: list[protocol.Message], item: Item, tools: dict[str, str], path: str) -> None:
    """Add an item to what was told so far."""
    _check_belongings(item, path)
    last = told[-1] if told else None
    match item.type:
        case "message":
            message = _message(item, path)
            if last is not None and message.role == "assistant" and _is_open(last):
                told[-1] = structs.replace(last, content=message.content)
            elif last is not None and message.role == last.role == "system" and len(told) == 1:
                # instructions and a system message: many templates take only one
                told[-1] = structs.replace(last, content=f"{last.content}\n\n{message.content}")
            else:
                told.append(message)
        case "reasoning":
            text = _text(item.content, f"{path}.content") if item.content else _summary(item)
            told.append(protocol.Message("assistant", "", reasoning=text))
        case "function_call":
            call = _call(item, path)
            tools[call.id] = call.name
            if last is None or last.role != "assistant":
                told.append(protocol.Message("assistant", "", tool_calls=(call,)))
            else:
                told[-1] = structs.replace(last, tool_calls=(*last.tool_calls, call))
        case "function_call_output":
            call_id = _said(item.call_id, f"{path}.call_id")
            output = _text(item.output, f"{path}.output")
            told.append(protocol.Message("tool", output, tool_call_id=call_id, name=tools.get(call_id)))
        case "item_reference":
            raise Unsupported(f"{path}.type: answers are not kept; send the item itself", f"{path}.type")


def _check_belongings(item: Item, path: str) -> None:
    """Whether each field belongs to an item of this type: none is passed over in silence."""
    for name in ("role", "content", "call_id", "name", "arguments", "output", "summary"):
        if getattr(item, name) and name not in _BELONGINGS[item.type]:
            raise InvalidRequest(
                f"{path}.{name}: does not belong to an item of type {item.type}", f"{path}.{name}"
            )


def _summary(item: Item) -> str:
    return "\n".join(each.text for each in item.summary or ())


def _is_open(last: protocol.Message) -> bool:
    """Whether it is only the reasoning of a message that follows."""
    return last.role == "assistant" and bool(last.reasoning) and not last.content and not last.tool_calls


def _message(item: Item, path: str) -> protocol.Message:
    role = _said(item.role, f"{path}.role")
    content = _text(item.content, f"{path}.content")
    return protocol.Message("system" if role == "developer" else role, content)


def _call(item: Item, path: str) -> protocol.ToolCall:
    return protocol.ToolCall(
        _said(item.call_id, f"{path}.call_id"),
        _said(item.name, f"{path}.name"),
        arguments(_said(item.arguments, f"{path}.arguments"), f"{path}.arguments"),
    )


def _text(content: str | Sequence[Part] | None, path: str) -> str:
    if isinstance(content, str):
        return content
    parts = _said(content, path)
    return "\n".join(_of_part(part, f"{path}[{index}]") for index, part in enumerate(parts))


def _of_part(part: Part, path: str) -> str:
    if part.type in _NOT_READ_TYPES:
        raise _unread(f"{path}.type", _NOT_READ_TYPES[part.type])
    for name, what in _NOT_READ.items():
        if getattr(part, name) is not None:
            raise _unread(f"{path}.{name}", what)
    return _said(part.refusal if part.type == "refusal" else part.text, f"{path}.text")


def _unread(path: str, what: str) -> Unsupported:
    return Unsupported(f"{path}: models here read text only; leave {what} out", path)


def _said(value: _Value | None, path: str) -> _Value:
    if value is None:
        raise InvalidRequest(f"{path}: is missing", path)
    return value
