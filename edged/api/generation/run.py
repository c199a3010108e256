"""One generation from admission to the last byte, in whatever way it is written down."""

import logging
import math
import time
from collections.abc import Generator, Iterator
from functools import partial

import msgspec
from flask import Response

from edged.api.errors import ClientGone
from edged.api.event_stream import HEARTBEAT_S, event_stream
from edged.api.generation.course import Course, Order
from edged.api.generation.dialect import Dialect
from edged.api.generation.events import Collected
from edged.api.ready import Asking
from edged.api.work import Api, Call
from edged.errors import EdgedError
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.together import Together

log = logging.getLogger(__name__)

_GRACE_S = 1.0  # in which a load that fails can still be told by the status of the answer
_TELL_EVERY_S = 2.0  # how far the load is


class Run:
    """A generation that slots work on. They are freed when the response is closed, however it ends."""

    def __init__(self, api: Api, call: Call, dialect: Dialect) -> None:
        self._api = api
        self._call = call
        self._dialect = dialect
        self._course: Course | None = None

    def answer(self, order: Order, *, stream: bool) -> Response:
        """Wait for the model and for a slot, then answer. Raises EdgedError before the first byte.

        A stream whose model takes long to load begins before that, and then tells within what goes wrong.
        """

        def submit(handle: RunnerHandle) -> Course:
            ordered = order(handle)
            left_s = max(0.0, self._call.patience.deadline - time.monotonic())
            first, *others = [
                msgspec.structs.replace(each, timeout_s=left_s, whole=not stream)
                for each in (ordered.generate, *ordered.beside)
            ]
            begin = partial(Together.begin, handle.generate)
            working = begin((first, *others)) if others else handle.generate(first)
            self._course = Course(working, ordered, self._call.patience)
            return self._course

        asking = Asking(self._api, self._call, submit)
        try:
            if not stream:
                return self._whole(_admitted(asking.wait()))
            begins_at_s = time.monotonic() + _GRACE_S
            while asking.poll() is None and time.monotonic() < begins_at_s:
                continue
            if self._course is not None:
                _admitted(self._course)
        except BaseException:
            self._end(asking)
            raise
        response = event_stream(self._events(asking), self._dialect.stream_type)
        response.call_on_close(partial(self._end, asking))  # also if the iterator is never begun
        return response

    def _end(self, asking: Asking[Course]) -> None:
        asking.close()
        if self._course is not None:
            self._course.generation.cancel()

    def _whole(self, course: Course) -> Response:
        answers = [Collected(index) for index in range(course.n_answers)]
        try:
            for piece in course.pieces():
                if piece is not None:
                    answers[piece.index].add(piece)
        finally:
            self._count()
        body = self._dialect.whole([answer.answer() for answer in answers], course.told())
        return Response(body, mimetype="application/json")

    def _arrival(self, asking: Asking[Course]) -> Generator[bytes, None, Course]:
        """The generation that a slot works on; until then what keeps the connection of the patient open."""
        told_at_s = -math.inf
        while True:
            course = self._course or asking.poll()
            if course is not None and course.is_admitted():
                return course
            if time.monotonic() - told_at_s >= _TELL_EVERY_S:
                told_at_s = time.monotonic()
                how_far = asking.how_far() if course is None else "waiting for a free slot"
                yield from self._dialect.waiting(how_far)

    def _events(self, asking: Asking[Course]) -> Iterator[bytes]:
        """The stream. What goes wrong from here on can only be told inside it."""
        try:
            course = yield from self._arrival(asking)
            sent_at_s = time.monotonic()
            yield from self._dialect.opening()
            for piece in course.pieces():
                if piece is not None:
                    sent_at_s = time.monotonic()
                    yield from self._dialect.piece(piece)
                elif time.monotonic() - sent_at_s > HEARTBEAT_S:
                    sent_at_s = time.monotonic()
                    yield from self._dialect.waiting("still working")
            yield from self._dialect.closing(course.told())
        except ClientGone:
            log.debug("the client of %s has gone", self._call.model)
        except EdgedError as error:
            yield from self._dialect.failed(error)
        finally:
            self._count()

    def _count(self) -> None:
        metrics, course = self._api.metrics, self._course
        if course is None:
            return
        if course.first_token_s is not None:
            metrics.first_token(self._call.model, course.first_token_s)
        told = course.told()
        metrics.tokens(
            self._call.model,
            prompt=told.n_prompt_tokens,
            cached=told.n_cached_tokens,
            generated=told.n_generated_tokens,
        )


def _admitted(course: Course) -> Course:
    """The same, when slots work on it."""
    while not course.is_admitted():
        continue
    return course
