"""One connection, hardened: waitress's own channel lets a client hold it open for as long as it likes.

Every phase of a connection has a deadline. Ages are counted with the monotonic clock from what a sweep sees,
because waitress stamps with the wall clock, which jumps by years when a board without a clock finds NTP.
"""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from edged.service.parser import Parser, WrongScheme
from edged.service.wire import REQUEST_ID, error_body, request_id

log = logging.getLogger(__name__)

HANDSHAKE_RECORD = 0x16  # the first byte of what a client with TLS sends; no HTTP begins with it
Phase = Literal["header", "body", "work", "output", "idle", "linger"]

_ERRORS = {
    400: ("invalid_request_error", "malformed_http"),
    413: ("invalid_request_error", "body_too_large"),
    431: ("invalid_request_error", "headers_too_large"),
    501: ("invalid_request_error", "transfer_encoding_unsupported"),
    505: ("invalid_request_error", "http_version_unsupported"),
}


class NothingYet(Exception):
    """What has arrived completes nothing that could be read: wait for more."""


class Secured(Protocol):
    """What a connection with TLS can do beside a socket's own; its `recv` raises NothingYet."""

    is_plain: bool  # the client does not speak it

    @property
    def has_unsent(self) -> bool:
        """Whether some of the handshake waits until the kernel takes it."""

    def flush(self) -> None:
        """Send more of that. Raises OSError."""


class JsonErrorTask(ErrorTask):
    """Waitress's own refusals (too large, malformed) in the shape that every other error has."""

    def execute(self) -> None:
        """Write the answer and end the connection, leaving the client time to read it."""
        error = self.request.error
        kind, code = _ERRORS.get(error.code, ("server_error", "internal_error"))
        code = error.name if isinstance(error, WrongScheme) else code
        name = request_id(self.request.headers.get("X_REQUEST_ID", ""))
        message = self._message(error)
        log.debug("refused: %s", message, extra={"REQUEST_ID": name, "CLIENT": self.channel.addr[0]})
        body = error_body(self.request.path, message, kind, code)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            (REQUEST_ID, name),
        ]
        self.request.headers["CONNECTION"] = "close"  # as if the client had asked for it
        self.channel.linger = True
        self.write(body)

    def _message(self, error: Any) -> str:
        if error.code == 413:
            most = self.channel.adj.max_request_body_size - 1
            return f"the request body is larger than {most} bytes; server.max_body raises the limit"
        if error.code == 431:
            most = self.channel.adj.max_request_header_size
            return f"the request headers are larger than {most} bytes"
        return f"{error.reason}: {error.body}"


class Task(WSGITask):
    """A request whose answer may be the last one on its connection, and then says so."""

    def get_environment(self) -> dict[str, Any]:
        """WSGI's, with the scheme of this connection."""
        self.request.url_scheme = self.channel.scheme
        environ: dict[str, Any] = super().get_environment()
        return environ

    def build_response_header(self) -> bytes:
        """The header, with `Connection: close` once the server retires."""
        if self.channel.server.retiring:
            self.request.headers["CONNECTION"] = "close"  # as if the client had asked for it
        return bytes(super().build_response_header())

    def write(self, data: bytes) -> None:
        """Write a piece of the body. The header and the first one are sent as one: the client wakes once."""
        if self.wrote_header:
            super().write(data)
            return
        with self.channel.held_back():
            super().write(data)


class _Loop:
    """The server as one connection sees it, whose loop is only woken when there is something for it to do.

    Waitress wakes it after every answer; each time costs as much as Python spends on an embedding's JSON.
    """

    def __init__(self, server: Any, channel: "Channel") -> None:
        self._server = server
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def pull_trigger(self) -> None:
        """Wake the loop: output is left, requests wait, or the connection is to be closed."""
        channel = self._channel
        if (
            channel.total_outbufs_len
            or channel.requests
            or channel.will_close
            or channel.close_when_flushed
            or not channel.connected
        ):
            self._server.pull_trigger()


class Channel(HTTPChannel):
    """A connection that knows which phase it is in and since when."""

    parser_class = Parser
    task_class = Task
    error_task_class = JsonErrorTask
    linger = False  # send what is written, then read and drop what the client still sends, then close

    def __init__(
        self,
        server: Any,
        sock: "socket.socket | Secured",
        addr: Any,
        adj: Any,
        map: Any = None,  # noqa: A002
    ) -> None:
        super().__init__(_Loop(server, self), sock, addr, adj, map=map)
        self._secured: Secured | None = None if isinstance(sock, socket.socket) else sock
        self._held_back: list[bytes] | None = None
        self._n_served = 0
        self._lingering = False
        self._seen = self._key()
        self._seen_at_s = time.monotonic()
        self._backlog_since_s: float | None = None

    def phase(self) -> Phase:
        """What this connection is doing now."""
        if self._lingering:
            return "linger"
        if self.total_outbufs_len:
            return "output"
        if self.requests:
            return "work"
        if self.request is None:
            return "idle" if self._n_served else "header"
        return "body" if self.request.headers_finished else "header"

    @property
    def scheme(self) -> str:
        """The scheme of the addresses that reach it."""
        return "http" if self._secured is None else "https"

    @property
    def is_silent(self) -> bool:
        """Whether nothing of a request has come since the last answer."""
        return self.request is None and self.phase() in ("header", "idle")

    def age_s(self, now_s: float) -> float:
        """How long this phase has lasted without the progress that renews it, as far as sweeps have seen."""
        key = self._key()
        if key != self._seen:
            self._seen, self._seen_at_s = key, now_s
        return now_s - self._seen_at_s

    def backlog_s(self, now_s: float) -> float:
        """How long output has waited for its reader without a pause, as far as sweeps have seen."""
        if not self.total_outbufs_len:
            self._backlog_since_s = None
            return 0.0
        if self._backlog_since_s is None:
            self._backlog_since_s = now_s
        return now_s - self._backlog_since_s

    def unfinished_body_bytes(self) -> int:
        """What a request that is not complete holds in memory."""
        request = self.request
        return 0 if request is None else int(request.body_bytes_received)

    def _key(self) -> tuple[Phase, int, float]:
        # A header or a body has one deadline however slowly it trickles in; a reader that takes some output
        # and an idle connection that sends something are given new time.
        phase = self.phase()
        return phase, self._n_served, self.last_activity if phase in ("output", "idle") else 0.0

    def service(self) -> None:
        """Serve one request."""
        super().service()
        self._n_served += 1

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """What is written meanwhile is sent at the end, in one piece. For the thread of the request."""
        pieces = self._held_back = []
        try:
            yield
        finally:
            self._held_back = None
        self.write_soon(b"".join(pieces))

    def write_soon(self, data: Any) -> int:
        """Send, or have sent; returns the bytes taken."""
        if self._held_back is not None and isinstance(data, bytes):
            self._held_back.append(data)
            return len(data)
        return int(super().write_soon(data))

    @property
    def _owes_handshake(self) -> bool:
        return self._secured is not None and self._secured.has_unsent

    def readable(self) -> bool:
        """Whether to poll for input. Who does not take our part of a handshake may not go on with his."""
        return self._lingering or (not self._owes_handshake and bool(super().readable()))

    def writable(self) -> bool:
        """Whether to poll for the chance to send."""
        return self._owes_handshake or bool(super().writable())

    def handle_read(self) -> None:
        """Take input, or drop it while lingering."""
        with suppress(NothingYet):
            if self._lingering:
                self.recv(self.adj.recv_bytes)
            else:
                super().handle_read()

    def handle_write(self) -> None:
        """Send what waits, unless the same poll has brought the end of the connection."""
        if self.socket is None:
            return
        if self._secured is not None:
            self._secured.flush()
        super().handle_write()

    def received(self, data: bytes) -> bool:
        """Take input in the clear; who speaks TLS where nobody does, or the other way round, is told so."""
        if self._is_understood(data):
            return bool(super().received(data))
        with self.requests_lock:
            if not (self.requests or self.will_close or self.close_when_flushed):
                request: Any = self.parser_class(self.adj)
                request.error = WrongScheme(self.scheme)
                self.requests.append(request)
                self.server.add_task(self)
        return True

    def _is_understood(self, data: bytes) -> bool:
        if self._secured is not None:
            return not self._secured.is_plain
        return self.request is not None or bool(self.requests) or data[0] != HANDSHAKE_RECORD

    def handle_expt(self) -> None:
        """End connections that send urgent data: HTTP has none, and it keeps the poll loop spinning."""
        self.linger = False
        self.handle_close()

    def handle_close(self) -> None:
        """Close; a refused client that is still sending first gets the chance to read why.

        Closing with unread input resets the connection, which destroys the answer on its way.
        """
        if self.linger and not self._lingering and self.socket is not None:
            self._lingering = True
            self.will_close = self.close_when_flushed = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._close()
        else:
            self._close()

    def _close(self) -> None:
        if self.socket is not None:
            super().handle_close()
