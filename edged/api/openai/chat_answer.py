"""Chat completions as OpenAI writes them, whole and piece by piece."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edged.api.event_stream import EVENT_STREAM, comment, event
from edged.api.generation.events import Answer, Call, CallDelta, Delta, FinishReason, Piece, Told
from edged.api.openai.logprobs import ChatLogprobs, Entries, chosen
from edged.api.openai.streaming import DONE, error_event
from edged.api.openai.usage import Thinking, Usage, usage
from edged.errors import EdgedError


class CalledFunction(Struct, frozen=True, kw_only=True):
    """Which function to call, and with what; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A function that the model wants called."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """What the model says; `content` is null where it only calls tools."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: tuple[ToolCall, ...] | UnsetType = UNSET


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: Usage


class FunctionDelta(Struct, frozen=True, kw_only=True):
    """What a call gains; its name comes first."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    """What the call with this index gains; the first of it has its id and type."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class ChatDelta(Struct, frozen=True, kw_only=True):
    """What a message gains."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: tuple[ToolCallDelta, ...] | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    """What one of the answers gains."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Struct, frozen=True, kw_only=True):
    """An event of a stream. With `include_usage` the last has the usage and no choices, all others null."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | UnsetType | None = UNSET


class ChatDialect:
    """Writes one request's answers."""

    stream_type = EVENT_STREAM

    def __init__(self, model: str, n: int, *, logprobs: bool, include_usage: bool) -> None:
        self._model = model
        self._n = n
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._id = "chatcmpl-" + secrets.token_hex(12)
        self._created = int(time.time())
        self._thinking = Thinking()

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """All answers at once."""
        completion = ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=tuple(self._choice(answer) for answer in answers),
            usage=usage(told, Thinking.of(answers)),
        )
        return msgspec.json.encode(completion)

    def opening(self) -> Iterable[bytes]:
        """The role of each answer."""
        for index in range(self._n):
            yield self._chunk(ChunkChoice(index=index, delta=ChatDelta(role="assistant", content="")))

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """What it gains, and the end in a chunk of its own, as OpenAI sends them."""
        self._thinking.add(piece)
        if piece.delta or piece.logprobs:
            logprobs = ChatLogprobs(content=chosen(piece.logprobs)) if piece.logprobs else None
            yield self._chunk(ChunkChoice(index=piece.index, delta=_gained(piece.delta), logprobs=logprobs))
        if piece.finish_reason:
            yield self._chunk(
                ChunkChoice(index=piece.index, delta=ChatDelta(), finish_reason=piece.finish_reason)
            )

    def closing(self, told: Told) -> Iterable[bytes]:
        """The usage, where it was asked for."""
        if self._include_usage:
            yield self._event((), usage(told, self._thinking))
        yield DONE

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A comment."""
        return (comment(how_far),)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """The error, in the place of a chunk."""
        return (error_event(error),)

    def _choice(self, answer: Answer) -> ChatChoice:
        return ChatChoice(
            index=answer.index,
            message=_message(answer),
            logprobs=self._all_logprobs(answer.logprobs),
            finish_reason=answer.finish_reason,
        )

    def _all_logprobs(self, entries: Entries) -> ChatLogprobs | None:
        return ChatLogprobs(content=chosen(entries)) if self._logprobs else None

    def _chunk(self, choice: ChunkChoice) -> bytes:
        return self._event((choice,), None if self._include_usage else UNSET)

    def _event(self, choices: tuple[ChunkChoice, ...], spent: Usage | UnsetType | None) -> bytes:
        return event(
            ChatChunk(id=self._id, created=self._created, model=self._model, choices=choices, usage=spent)
        )


def _message(answer: Answer) -> AnswerMessage:
    return AnswerMessage(
        content=None if answer.calls and not answer.text else answer.text,
        reasoning_content=answer.reasoning or UNSET,
        tool_calls=tuple(map(_call, answer.calls)) or UNSET,
    )


def _call(call: Call) -> ToolCall:
    return ToolCall(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments))


def _gained(delta: Delta) -> ChatDelta:
    return ChatDelta(
        content=delta.text or UNSET,
        reasoning_content=delta.reasoning or UNSET,
        tool_calls=tuple(map(_call_gained, delta.calls)) or UNSET,
    )


def _call_gained(call: CallDelta) -> ToolCallDelta:
    return ToolCallDelta(
        index=call.number,
        id=call.id or UNSET,
        type="function" if call.id else UNSET,
        function=FunctionDelta(name=call.name or UNSET, arguments=call.arguments),
    )
