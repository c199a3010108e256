"""Generations as ollama writes them: one JSON object, or one a line."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edged.api.errors import body_of
from edged.api.event_stream import NDJSON
from edged.api.generation.events import Answer, Call, CallDelta, FinishReason, Piece, Told
from edged.api.openai.logprobs import Chosen, Entries, chosen
from edged.errors import EdgedError

Nanoseconds = Annotated[int, Meta(description="In nanoseconds.")]


class Timed(Struct, frozen=True, kw_only=True):
    """What both kinds of answer say; the durations and counts come with the end."""

    model: str
    created_at: datetime
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    total_duration: Nanoseconds | UnsetType = UNSET
    load_duration: Annotated[int, Meta(description="Until the model answered at all.")] | UnsetType = UNSET
    prompt_eval_count: Annotated[int, Meta(description="Tokens of the prompt.")] | UnsetType = UNSET
    prompt_eval_duration: Nanoseconds | UnsetType = UNSET
    eval_count: Annotated[int, Meta(description="Tokens of the answer.")] | UnsetType = UNSET
    eval_duration: Nanoseconds | UnsetType = UNSET
    logprobs: tuple[Chosen, ...] | UnsetType = UNSET


class FunctionCalled(Struct, frozen=True, kw_only=True):
    """Which function to call, and with what."""

    name: str
    arguments: dict[str, Any]


class ToolCall(Struct, frozen=True, kw_only=True):
    """A function that the model wants called."""

    id: str
    function: FunctionCalled


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """What the model says, or a piece of it."""

    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: tuple[ToolCall, ...] | UnsetType = UNSET


class ChatAnswer(Timed, frozen=True, kw_only=True):
    """An answer to /api/chat, or a line of it."""

    message: AnswerMessage


class GenerateAnswer(Timed, frozen=True, kw_only=True):
    """An answer to /api/generate, or a line of it."""

    response: str
    thinking: str | UnsetType = UNSET


class Said(NamedTuple):
    """What an answer, or a line of it, says."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    logprobs: Entries = ()


NOTHING = Said()
Write = Callable[..., bytes]


def chat_answer(model: str, said: Said = NOTHING, **more: Any) -> bytes:
    """JSON of a chat's answer. A call that is no JSON, as it was cut off, is text."""
    calls = [(call, arguments_of(call)) for call in said.calls]
    cut_off = "".join(f"{call.name} {call.arguments}" for call, arguments in calls if arguments is None)
    message = AnswerMessage(
        content=said.text + cut_off,
        thinking=said.thinking or UNSET,
        tool_calls=tuple(
            ToolCall(id=call.id, function=FunctionCalled(name=call.name, arguments=arguments))
            for call, arguments in calls
            if arguments is not None
        )
        or UNSET,
    )
    return msgspec.json.encode(ChatAnswer(message=message, **_common(model, said), **more))


def generate_answer(model: str, said: Said = NOTHING, **more: Any) -> bytes:
    """JSON of an answer to a prompt."""
    return msgspec.json.encode(
        GenerateAnswer(response=said.text, thinking=said.thinking or UNSET, **_common(model, said), **more)
    )


def arguments_of(call: Call) -> dict[str, Any] | None:
    """The arguments of a call; None where they are no JSON object."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


class OllamaDialect:
    """Writes one request's answer."""

    stream_type = NDJSON

    def __init__(self, model: str, write: Write) -> None:
        self._model = model
        self._write = write
        self._calls = Calls()
        self._finish_reason: FinishReason = "stop"

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """All of it."""
        [answer] = answers
        said = Said(answer.text, answer.reasoning, answer.calls, answer.logprobs)
        return self._write(self._model, said, **_end(answer.finish_reason, told))

    def opening(self) -> Iterable[bytes]:
        """Nothing."""
        return ()

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """A line; calls are told when they are whole, as ollama does."""
        calls = self._calls.push(piece.delta.calls, ended=piece.finish_reason is not None)
        self._finish_reason = piece.finish_reason or self._finish_reason
        said = Said(piece.delta.text, piece.delta.reasoning, calls, piece.logprobs)
        if any(said):
            yield self._line(said, done=False)

    def closing(self, told: Told) -> Iterable[bytes]:
        """A line with the reason, the durations and the counts."""
        yield self._line(NOTHING, **_end(self._finish_reason, told))

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A line that says nothing: clients read every line, so there is nowhere to say how far it is."""
        del how_far
        yield self._line(NOTHING, done=False)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """The line that clients raise."""
        yield body_of(error, "/api/") + b"\n"

    def _line(self, said: Said, **more: Any) -> bytes:
        return self._write(self._model, said, **more) + b"\n"


class Calls:
    """Calls that come in pieces, put together."""

    def __init__(self) -> None:
        self._open: Call | None = None
        self._number = -1

    def push(self, deltas: Iterable[CallDelta], *, ended: bool) -> tuple[Call, ...]:
        """The calls that are whole after these pieces: nothing comes to one when the next begins."""
        whole = []
        for delta in deltas:
            if self._open is None or delta.number != self._number:
                if self._open is not None:
                    whole.append(self._open)
                self._open, self._number = (
                    Call(id=delta.id or "", name=delta.name or "", arguments=""),
                    delta.number,
                )
            arguments = self._open.arguments + delta.arguments
            self._open = msgspec.structs.replace(self._open, arguments=arguments)
        if ended and self._open is not None:
            whole.append(self._open)
            self._open = None
        return tuple(whole)


def _common(model: str, said: Said) -> dict[str, Any]:
    logprobs = chosen(said.logprobs) if said.logprobs else UNSET
    return {"model": model, "created_at": datetime.now(UTC), "logprobs": logprobs}


def _end(reason: FinishReason, told: Told) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": "length" if reason == "length" else "stop",
        "total_duration": _nanoseconds(told.total_s),
        "load_duration": _nanoseconds(told.load_s),
        "prompt_eval_count": told.n_prompt_tokens,
        "prompt_eval_duration": _nanoseconds(told.prompt_s),
        "eval_count": told.n_generated_tokens,
        "eval_duration": _nanoseconds(told.generation_s),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
