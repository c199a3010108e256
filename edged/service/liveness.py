"""The outermost WSGI callable: it answers /livez by itself and keeps the rest waiting for the application.

Importing Flask takes longer than a liveness probe may, so the server starts with this alone.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from edged.service.wire import Problem

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

_STARTING = Problem(
    503, "server_error", "starting", "edged is starting; try again in a second", retry_after_s=1
)
_LIVEZ_METHODS = Problem(
    405, "invalid_request_error", "method_not_allowed", "/livez takes GET and HEAD", allow="GET, HEAD"
)


class Frontdoor:
    """Answers GET and HEAD /livez to anyone; everything else waits up to `wait_s` for `set_app`.

    At most `max_waiting` requests wait, so that threads stay free for /livez.
    """

    def __init__(self, wait_s: float, max_waiting: int) -> None:
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(max_waiting)
        self._app: Wsgi | None = None
        self._app_is_set = threading.Event()

    def set_app(self, app: Wsgi) -> None:
        """Hand over to the real application; requests that waited go on to it."""
        self._app = app
        self._app_is_set.set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        if environ["PATH_INFO"] == "/livez":
            return _livez(environ, start_response)
        app = self._app or self._wait_for_app()
        if app is None:
            return _STARTING.respond(environ, start_response)
        return app(environ, start_response)

    def _wait_for_app(self) -> Wsgi | None:
        if not self._places.acquire(blocking=False):
            return None
        try:
            self._app_is_set.wait(self._wait_s)
        finally:
            self._places.release()
        return self._app


def _livez(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    method = environ["REQUEST_METHOD"]
    if method not in ("GET", "HEAD"):
        return _LIVEZ_METHODS.respond(environ, start_response)
    body = b'{"status":"ok"}'
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body if method == "GET" else b""]
