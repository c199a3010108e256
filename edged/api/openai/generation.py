"""Generations as OpenAI's two kinds of completion show them."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from edged.api.body import Fields, convert
from edged.api.errors import body_of
from edged.api.event_stream import EVENT_STREAM, comment, event
from edged.api.generation.events import Answer, Piece, Told
from edged.errors import EdgedError
from edged.runner import protocol

Choice = dict[str, Any]


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # OpenAI's padding against eavesdroppers: nothing to do


class StreamFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether and how to stream."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between the two kinds of completion."""

    id_prefix: str
    object: str
    chunk_object: str
    whole: Callable[[str], Choice]  # a choice that holds all the text
    piece: Callable[[str], Choice]  # one that adds text
    opening: Choice | None  # the first chunk of a stream, before any text
    logprobs: Callable[[Sequence[protocol.TokenLogprob], int], Any]  # of tokens after so many characters


class Completion:
    """The dialect of one request."""

    stream_type = EVENT_STREAM

    def __init__(
        self, style: Style, model: str, request: protocol.Generate, *, include_usage: bool = False
    ) -> None:
        self._style = style
        self._request = request
        self._include_usage = include_usage
        self._head = {
            "id": style.id_prefix + secrets.token_hex(12),
            "created": int(time.time()),
            "model": model,
        }
        self._chunk_head = self._head | {"object": style.chunk_object}
        if include_usage:
            self._chunk_head["usage"] = None
        self._n_sent: Counter[int] = Counter()  # characters of each answer

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """The completion."""
        body = self._head | {
            "object": self._style.object,
            "choices": [self._whole_choice(answer) for answer in answers],
            "usage": _usage(told),
        }
        return msgspec.json.encode(body)

    def opening(self) -> Iterable[bytes]:
        """A chat's first chunks say who speaks."""
        if self._style.opening is not None:
            for index in range(self._request.n):
                yield self._chunk([_choice(index, self._style.opening)])

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """The text, and the end in a chunk of its own, as OpenAI sends them."""
        if piece.delta.text or piece.logprobs:
            choice = _choice(piece.index, self._style.piece(piece.delta.text))
            if piece.logprobs:
                choice["logprobs"] = self._style.logprobs(piece.logprobs, self._n_sent[piece.index])
            self._n_sent[piece.index] += len(piece.delta.text)
            yield self._chunk([choice])
        if piece.finish_reason:
            yield self._chunk([_choice(piece.index, self._style.piece(""), piece.finish_reason)])

    def closing(self, told: Told) -> Iterable[bytes]:
        """The usage, where it was asked for, and the end."""
        if self._include_usage:
            yield self._chunk([], _usage(told))
        yield b"data: [DONE]\n\n"

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A comment."""
        yield comment(how_far)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """An event that the client raises."""
        yield b"data: " + body_of(error) + b"\n\n"

    def _whole_choice(self, answer: Answer) -> Choice:
        top_logprobs = self._request.top_logprobs
        return self._style.whole(answer.text) | {
            "index": answer.index,
            "logprobs": None if top_logprobs is None else self._style.logprobs(answer.logprobs, 0),
            "finish_reason": answer.finish_reason,
        }

    def _chunk(self, choices: list[Choice], usage: Fields | None = None) -> bytes:
        more = {"choices": choices} if usage is None else {"choices": choices, "usage": usage}
        return event(self._chunk_head | more)


def take_stream(fields: Fields) -> StreamFields:
    """What is left of a request when everything else was taken. Raises InvalidRequest."""
    wanted = convert(fields, StreamFields)
    fields.clear()
    return wanted


def _usage(told: Told) -> Fields:
    return {
        "prompt_tokens": told.n_prompt_tokens,
        "completion_tokens": told.n_generated_tokens,
        "total_tokens": told.n_prompt_tokens + told.n_generated_tokens,
        "prompt_tokens_details": {"cached_tokens": told.n_cached_tokens},
    }


def _choice(index: int, content: Choice, finish_reason: str | None = None) -> Choice:
    return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}
