"""HTTP over one kept connection, cheap enough to share two cores with the servers that it measures.

It knows just what these servers send: a length or chunks, and server-sent events.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from types import TracebackType

from tests.bench import web
from tests.bench.process import BenchFailed

_PIECE_BYTES = 1 << 18


class Connection:
    """A client's connection. Raises BenchFailed for whatever is not an answer with status 200."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._unread = bytearray()
        self._connect()

    def post(self, path: str, body: bytes) -> bytes:
        """The whole answer."""
        return b"".join(self._answer(path, body))

    def events(self, path: str, body: bytes) -> Iterator[tuple[float, bytes]]:
        """The data of each server-sent event with the monotonic time at which it was here."""
        text = b""
        for piece in self._answer(path, body):
            now_s = time.monotonic()
            *whole, text = (text + piece).split(b"\n\n")
            for event in whole:
                if event.startswith(b"data: {"):
                    yield now_s, event[len(b"data: ") :]

    def hang_up(self) -> None:
        """End the connection in the middle of an answer; may be called from another thread than reads it."""
        with contextlib.suppress(OSError):  # the other side may have done it already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, path: str, body: bytes) -> Iterator[bytes]:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        try:
            self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, headers = self._head()
            if headers.get("transfer-encoding") == "chunked":
                pieces = self._chunks()
            else:
                pieces = iter([self._take(int(headers["content-length"]))])
            if status != 200:
                raise BenchFailed(f"{path}: {status}: {web.shown(b''.join(pieces))}")
            yield from pieces
            # llama-server closes after 100 answers, and after a stream, as edged does, without saying so
            if headers.get("connection") == "close" or "transfer-encoding" in headers:
                self._socket.close()
                self._connect()
        except OSError as error:
            raise BenchFailed(f"{path}: {error}") from error

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), web.TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n"), 16):
            yield self._take(size)
            self._take(2)
        self._take(2)

    def _until(self, end: bytes) -> bytes:
        while (at := self._unread.find(end)) < 0:
            self._receive()
        found = bytes(self._unread[:at])
        del self._unread[: at + len(end)]
        return found

    def _take(self, n_bytes: int) -> bytes:
        while len(self._unread) < n_bytes:
            self._receive()
        taken = bytes(self._unread[:n_bytes])
        del self._unread[:n_bytes]
        return taken

    def _receive(self) -> None:
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        self._unread += piece
