"""POST /v1/chat/completions."""

from typing import Any

import msgspec
from flask import Blueprint, Response, request

from edged.api.body import Fields, convert, drop_harmless, read_fields
from edged.api.errors import Unsupported
from edged.api.generation.course import Ordered
from edged.api.generation.events import PlainReader
from edged.api.generation.run import Run
from edged.api.openai.generation import Completion, StreamOptions, Style, take_stream
from edged.api.openai.logprobs import chat_logprobs
from edged.api.openai.response_format import take_chat_format
from edged.api.openai.sampling import take_cache_prompt, take_chat_answers, take_length, take_sampling
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.runner import protocol

_IGNORED = frozenset(
    {
        *("user", "store", "metadata", "service_tier", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"),
    }
)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    **dict.fromkeys(("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"), ()),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

_STYLE = Style(
    id_prefix="chatcmpl-",
    object="chat.completion",
    chunk_object="chat.completion.chunk",
    whole=lambda text: {"message": {"role": "assistant", "content": text, "refusal": None}},
    piece=lambda text: {"delta": {"content": text} if text else {}},
    opening={"delta": {"role": "assistant", "content": ""}},
    logprobs=chat_logprobs,
)


class Part(msgspec.Struct):
    """A piece of a message's content; of other types than text we only read the type."""

    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One message, as clients send it."""

    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None  # of an earlier answer that is sent back
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None


class ChatFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The conversation."""

    messages: list[ChatMessage]


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("chat", __name__)

    @blueprint.post("/v1/chat/completions")
    @api.working
    def chat() -> Response:
        patience = api.patience(request.environ)
        fields = read_fields(request.environ)
        call = api.call(fields.pop("model", None), "generate", patience, fields.pop("keep_alive", None))
        drop_harmless(fields, _IGNORED, _NEUTRAL)
        sampling = take_chat_format(fields, take_sampling(fields))
        n, top_logprobs = take_chat_answers(fields)
        max_tokens, stop = take_length(fields)
        cache_prompt = take_cache_prompt(fields)
        messages = take_messages(fields)
        stream = take_stream(fields)
        generate = protocol.Generate(
            id=0,
            messages=messages,
            sampling=sampling,
            max_tokens=max_tokens,
            stop=stop,
            cache_prompt=cache_prompt,
            n=n,
            top_logprobs=top_logprobs,
        )
        options = stream.stream_options or StreamOptions()
        dialect = Completion(_STYLE, call.model, generate, include_usage=bool(options.include_usage))
        ordered = Ordered(generate, lambda _: PlainReader())
        return Run(api, call, dialect).answer(lambda _: ordered, stream=bool(stream.stream))

    return blueprint


def take_messages(fields: Fields) -> tuple[protocol.Message, ...]:
    """The conversation, removed from `fields`. Raises InvalidRequest."""
    given = {"messages": fields.pop("messages")} if "messages" in fields else {}
    messages = convert(given, ChatFields).messages
    if not messages:
        raise InvalidRequest("messages: is empty; send at least one message", "messages")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(messages))


def _message(message: ChatMessage, path: str) -> protocol.Message:
    for name in ("name", "tool_calls", "tool_call_id"):
        if getattr(message, name):
            raise Unsupported(f"{path}.{name}: this version of edged does not support it", f"{path}.{name}")
    if message.role in ("tool", "function"):
        raise Unsupported(f"{path}.role: this version of edged does not support tools", f"{path}.role")
    if message.role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(f"{path}.role: is none of {known}", f"{path}.role")
    if message.content is None:
        raise InvalidRequest(f"{path}.content: is missing", f"{path}.content")
    content = message.content
    if not isinstance(content, str):
        content = "\n".join(_text(part, f"{path}.content[{at}]") for at, part in enumerate(content))
    return protocol.Message(_ROLES[message.role], content)


def _text(part: Part, path: str) -> str:
    if part.type != "text":
        raise Unsupported(f"{path}.type: only text parts are supported", f"{path}.type")
    if part.text is None:
        raise InvalidRequest(f"{path}.text: is missing", f"{path}.text")
    return part.text
