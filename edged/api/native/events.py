"""GET /edged/v1/events: what happens to the models, as server-sent events, while somebody follows."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta

from edged.api.endpoint import Endpoint
from edged.api.event_stream import EVENT_STREAM, HEARTBEAT_S, event_stream
from edged.api.work import Api, client_has_gone
from edged.lifecycle.feed import Ended, Following, Notice, Told, first_notice
from edged.lifecycle.status import ModelStatus

_POLL_S = 1.0  # how soon a follower that has gone is noticed
_AT = {"at_s": {"description": "When it happened: seconds since 1970.", "type": "number"}}


class End(msgspec.Struct, frozen=True, tag_field="event", tag="end"):
    """edged shuts down: nothing follows."""


EVENTS = Endpoint(
    method="GET",
    path="/edged/v1/events",
    family="edged",
    summary="Each model's present state, then what happens, until the client leaves or edged shuts down.",
    media_type=EVENT_STREAM,
    stream=Annotated[Notice, Meta(extra_json_schema={"properties": _AT, "required": ["at_s"]})] | End,
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("events", __name__)

    @blueprint.get(EVENTS.path)
    def events() -> Response:
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
            yield b"event: end\ndata: " + msgspec.json.encode(End()) + b"\n\n"
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
