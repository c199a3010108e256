"""One generation from admission to the last byte, for chat and text completions alike."""

import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from flask import Response

from edged.api.body import Fields, convert
from edged.api.errors import ClientGone, body_of
from edged.api.event_stream import HEARTBEAT_S, event_stream
from edged.api.ready import Asking
from edged.api.work import POLL_S, Api, Call
from edged.errors import EdgedError, RunnerFailed
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.requests import Generation
from edged.runner import protocol

log = logging.getLogger(__name__)

_GRACE_S = 1.0  # in which a load that fails can still be told by the status of the answer
_TELL_EVERY_S = 2.0  # how far the load is

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


class Run:
    """A generation that slots work on. They are freed when the response is closed, however it ends."""

    def __init__(self, api: Api, call: Call, style: Style) -> None:
        self._api = api
        self._call = call
        self._style = style
        self._patience = call.patience
        self._generation: Generation | None = None
        self._head = {
            "id": style.id_prefix + secrets.token_hex(12),
            "created": int(time.time()),
            "model": call.model,
        }
        self._n_generated: Counter[int] = Counter()  # tokens of each answer
        self._n_sent: Counter[int] = Counter()  # characters of each answer
        self._first_at_s: float | None = None

    def answer(self, request: protocol.Generate, stream: StreamFields) -> Response:
        """Wait for the model and for a slot, then answer. Raises EdgedError before the first byte.

        A stream whose model takes long to load begins before that, and then tells within what goes wrong.
        """

        def submit(handle: RunnerHandle) -> Generation:
            left_s = max(0.0, self._patience.deadline - time.monotonic())
            wanted = msgspec.structs.replace(request, timeout_s=left_s, whole=not stream.stream)
            self._generation = handle.generate(wanted)
            return self._generation

        asking = Asking(self._api, self._call, submit)
        try:
            if not stream.stream:
                return self._whole(self._admitted(asking.wait()), request)
            begins_at_s = time.monotonic() + _GRACE_S
            while asking.poll() is None and time.monotonic() < begins_at_s:
                continue
            if self._generation is not None:
                self._admitted(self._generation)
        except BaseException:
            self._end(asking)
            raise
        options = stream.stream_options or StreamOptions()
        response = event_stream(self._events(asking, request, include_usage=bool(options.include_usage)))
        response.call_on_close(partial(self._end, asking))  # also if the iterator is never begun
        return response

    def _end(self, asking: Asking[Generation]) -> None:
        asking.close()
        if self._generation is not None:
            self._generation.cancel()

    def _admitted(self, generation: Generation) -> Generation:
        """The same, when a slot works on it."""
        while not self._is_admitted(generation):
            continue
        return generation

    def _is_admitted(self, generation: Generation) -> bool:
        """Whether a slot works on it, after a moment in which that may have begun."""
        if generation.n_prompt_tokens is None:
            if generation.poll(POLL_S) is not None:
                raise RunnerFailed("the runner answered before it admitted the request")
            self._patience.check()
        return generation.n_prompt_tokens is not None

    def _arrival(self, asking: Asking[Generation]) -> Generator[bytes, None, Generation]:
        """The generation that a slot works on; until then comments, which clients skip, for the patient."""
        told_at_s = -math.inf
        while True:
            generation = self._generation or asking.poll()
            if generation is not None and self._is_admitted(generation):
                return generation
            if time.monotonic() - told_at_s >= _TELL_EVERY_S:
                told_at_s = time.monotonic()
                how_far = asking.how_far() if generation is None else "waiting for a free slot"
                yield f": {how_far}\n\n".encode()

    def _tokens(self, generation: Generation) -> Iterator[protocol.TokenEvent | None]:
        """The tokens of all answers to the last; None now and then while there are none."""
        while not generation.finished:
            event = generation.poll(POLL_S)
            self._patience.check()
            yield event
            if event is None:
                continue
            if self._first_at_s is None:
                self._first_at_s = self._patience.waited_s
            self._n_generated[event.index] = event.n_generated

    def _whole(self, generation: Generation, request: protocol.Generate) -> Response:
        try:
            pieces = [event for event in self._tokens(generation) if event is not None]
        finally:
            self._count()
        answers: list[list[protocol.TokenEvent]] = [[] for _ in range(request.n)]
        for event in pieces:
            answers[event.index].append(event)
        body = self._head | {
            "object": self._style.object,
            "choices": [self._whole_choice(answer, request) for answer in answers],
            "usage": self._usage(generation),
        }
        return Response(msgspec.json.encode(body), mimetype="application/json")

    def _whole_choice(self, events: list[protocol.TokenEvent], request: protocol.Generate) -> Choice:
        choice = self._style.whole("".join(event.text for event in events))
        entries = [entry for event in events for entry in event.logprobs]
        return choice | {
            "index": events[-1].index,
            "logprobs": None if request.top_logprobs is None else self._style.logprobs(entries, 0),
            "finish_reason": events[-1].finish_reason,
        }

    def _events(
        self, asking: Asking[Generation], request: protocol.Generate, *, include_usage: bool
    ) -> Iterator[bytes]:
        """Server-sent events. What goes wrong from here on can only be told inside the stream."""
        head = self._head | {"object": self._style.chunk_object}
        if include_usage:
            head["usage"] = None
        try:
            generation = yield from self._arrival(asking)
            sent_at_s = time.monotonic()
            if self._style.opening is not None:
                for index in range(request.n):
                    yield _event(head | {"choices": [_choice(index, self._style.opening)]})
            for event in self._tokens(generation):
                if event is not None:
                    sent_at_s = time.monotonic()
                    yield from self._chunks(head, event)
                elif time.monotonic() - sent_at_s > HEARTBEAT_S:
                    sent_at_s = time.monotonic()
                    yield b": still working\n\n"
            if include_usage:
                yield _event(head | {"choices": [], "usage": self._usage(generation)})
            yield b"data: [DONE]\n\n"
        except ClientGone:
            log.debug("the client of %s has gone", self._head["id"])
        except EdgedError as error:
            yield b"data: " + body_of(error) + b"\n\n"
        finally:
            self._count()

    def _chunks(self, head: Fields, event: protocol.TokenEvent) -> Iterator[bytes]:
        """The text, and the end in a chunk of its own, as OpenAI sends them."""
        if event.text or event.logprobs:
            choice = _choice(event.index, self._style.piece(event.text))
            if event.logprobs:
                choice["logprobs"] = self._style.logprobs(event.logprobs, self._n_sent[event.index])
            self._n_sent[event.index] += len(event.text)
            yield _event(head | {"choices": [choice]})
        if event.finish_reason:
            choice = _choice(event.index, self._style.piece(""), event.finish_reason)
            yield _event(head | {"choices": [choice]})

    def _usage(self, generation: Generation) -> Fields:
        prompt = generation.n_prompt_tokens or 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._n_generated.total(),
            "total_tokens": prompt + self._n_generated.total(),
            "prompt_tokens_details": {"cached_tokens": generation.n_cached_tokens or 0},
        }

    def _count(self) -> None:
        metrics, generation = self._api.metrics, self._generation
        if self._first_at_s is not None:
            metrics.first_token(self._call.model, self._first_at_s)
        if generation is None:
            return
        metrics.tokens(
            self._call.model,
            prompt=generation.n_prompt_tokens or 0,
            cached=generation.n_cached_tokens or 0,
            generated=self._n_generated.total(),
        )


def take_stream(fields: Fields) -> StreamFields:
    """What is left of a request when everything else was taken. Raises InvalidRequest."""
    wanted = convert(fields, StreamFields)
    fields.clear()
    return wanted


def _choice(index: int, content: Choice, finish_reason: str | None = None) -> Choice:
    return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}


def _event(body: Fields) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
