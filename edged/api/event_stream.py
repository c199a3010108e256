"""An answer that goes on: server-sent events, for as long as their client is there."""

from collections.abc import Iterator

from flask import Response

HEARTBEAT_S = 15.0  # below the 30 to 60 s after which proxies give up on a silent stream


def event_stream(events: Iterator[bytes]) -> Response:
    """A response of these events, each of which a proxy is to pass on at once."""
    return Response(
        events,
        content_type="text/event-stream; charset=utf-8",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
