"""GET /edged/v1/events: what happens to the models, as server-sent events, while somebody follows."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
from flask import Blueprint, Response, request

from edged.api.event_stream import HEARTBEAT_S, event_stream
from edged.api.work import Api, client_has_gone
from edged.lifecycle.feed import Ended, Following, Told, first_notice
from edged.lifecycle.status import ModelStatus

_POLL_S = 1.0  # how soon a follower that has gone is noticed


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("events", __name__, url_prefix="/edged/v1")

    @blueprint.get("/events")
    def events() -> Response:
        """Each model's present state, then what happens, until the client leaves or edged shuts down."""
        feed = api.pool.feed
        has_gone = client_has_gone(request.environ)
        follower = feed.follow()
        response = event_stream(stream(api.pool.statuses(), follower, has_gone))
        response.call_on_close(partial(feed.leave, follower))  # also if the iterator is never begun
        return response

    return blueprint


def stream(
    statuses: tuple[ModelStatus, ...],
    follower: Following,
    has_gone: Callable[[], bool],
    heartbeat_s: float = HEARTBEAT_S,
) -> Iterator[bytes]:
    """Server-sent events. What `follower` loses while its client does not read is told as `lost`."""
    for status in statuses:
        yield _event(Told(number=0, at_s=time.time(), notice=first_notice(status)))
    sent_at_s = time.monotonic()
    while not has_gone():
        try:
            told = follower.next(min(_POLL_S, heartbeat_s))
        except Ended:
            yield b'event: end\ndata: {"event":"end"}\n\n'
            return
        if told is not None:
            yield _event(told)
        elif time.monotonic() - sent_at_s < heartbeat_s:
            continue
        else:
            yield b": nothing new\n\n"
        sent_at_s = time.monotonic()


def _event(told: Told) -> bytes:
    fields = msgspec.to_builtins(told.notice)
    data = msgspec.json.encode({"at_s": round(told.at_s, 3), **fields})
    number = f"id: {told.number}\n" if told.number else ""
    return f"{number}event: {fields['event']}\ndata: ".encode() + data + b"\n\n"
