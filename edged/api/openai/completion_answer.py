"""Text completions as OpenAI writes them, whole and piece by piece."""

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edged.api.event_stream import EVENT_STREAM, comment, event
from edged.api.generation.events import Answer, Piece, Told
from edged.api.openai.logprobs import TextLogprobs, text_logprobs
from edged.api.openai.streaming import DONE, error_event
from edged.api.openai.usage import Thinking, Usage, usage
from edged.errors import EdgedError


class TextChoice(Struct, frozen=True, kw_only=True):
    """One of the answers, or what it gains: the last chunk of each has a reason."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """An answer. In a stream with `include_usage` the last has the usage and no choices, all others null."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: Usage | UnsetType | None = UNSET


class CompletionDialect:
    """Writes one request's answers."""

    stream_type = EVENT_STREAM

    def __init__(self, model: str, *, logprobs: bool, include_usage: bool) -> None:
        self._model = model
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._id = "cmpl-" + secrets.token_hex(12)
        self._created = int(time.time())
        self._n_sent: Counter[int] = Counter()  # characters, by answer

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """All answers at once."""
        choices = tuple(
            TextChoice(
                index=answer.index,
                text=answer.text,
                logprobs=text_logprobs(answer.logprobs, 0) if self._logprobs else None,
                finish_reason=_reason(answer.finish_reason),
            )
            for answer in answers
        )
        return msgspec.json.encode(self._completion(choices, usage(told, Thinking())))

    def opening(self) -> Iterable[bytes]:
        """Nothing."""
        return ()

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """What it gains, and the end in a chunk of its own, as OpenAI sends them."""
        text = piece.delta.text
        if text or piece.logprobs:
            n_sent = self._n_sent[piece.index]
            logprobs = text_logprobs(piece.logprobs, n_sent) if piece.logprobs else None
            self._n_sent[piece.index] += len(text)
            yield self._chunk(TextChoice(index=piece.index, text=text, logprobs=logprobs))
        if piece.finish_reason:
            yield self._chunk(
                TextChoice(index=piece.index, text="", finish_reason=_reason(piece.finish_reason))
            )

    def closing(self, told: Told) -> Iterable[bytes]:
        """The usage, where it was asked for."""
        if self._include_usage:
            yield event(self._completion((), usage(told, Thinking())))
        yield DONE

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A comment."""
        return (comment(how_far),)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """The error, in the place of a chunk."""
        return (error_event(error),)

    def _chunk(self, choice: TextChoice) -> bytes:
        return event(self._completion((choice,), None if self._include_usage else UNSET))

    def _completion(self, choices: tuple[TextChoice, ...], spent: Usage | UnsetType | None) -> Completion:
        return Completion(id=self._id, created=self._created, model=self._model, choices=choices, usage=spent)


def _reason(reason: str) -> Literal["stop", "length"]:
    return "length" if reason == "length" else "stop"
