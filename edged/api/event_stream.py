"""An answer that goes on for as long as its client is there: server-sent events, or JSON by the line."""

from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response

EVENT_STREAM = "text/event-stream"
NDJSON = "application/x-ndjson"
HEARTBEAT_S = 15.0  # below the 30 to 60 s after which proxies give up on a silent stream


def event_stream(events: Iterator[bytes], media_type: str = EVENT_STREAM) -> Response:
    """A response of these events, each of which a proxy is to pass on at once."""
    return Response(
        events,
        content_type=f"{media_type}; charset=utf-8" if media_type == EVENT_STREAM else media_type,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def event(body: Any, name: str | None = None) -> bytes:
    """A server-sent event of this JSON."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + msgspec.json.encode(body) + b"\n\n"


def comment(text: str) -> bytes:
    """What clients of server-sent events skip."""
    return f": {text}\n\n".encode()


def line(body: Any) -> bytes:
    """A line of this JSON."""
    return msgspec.json.encode(body) + b"\n"
