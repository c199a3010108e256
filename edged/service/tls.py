"""The server's end of TLS on one connection, in the form in which waitress uses a socket.

The bytes go through buffers instead of Python's `SSLSocket`: waitress reads in its loop and writes in other
threads, and OpenSSL allows one thread at a time in a connection.
"""

import errno
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from edged.service.channel import HANDSHAKE_RECORD, NothingYet

_PIECE_BYTES = 1 << 18  # encrypted at once: what a client that does not read can make us hold
_CLEARTEXT_BYTES = 1 << 16


class TlsSocket:
    """A connected socket that does not block. What a stranger to TLS sends passes through (`is_plain`)."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._arrived, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._to_send, server_side=True)
        self._lock = threading.Lock()
        self._is_new = True
        self._is_agreed = False  # the handshake is over
        self._has_ended = False
        self._encrypted = b""  # not yet taken by the kernel
        self._stands_for_bytes = 0  # of the caller's, in what is encrypted
        self.is_plain = False

    def __getattr__(self, name: str) -> Any:
        """All else that a socket can do: `fileno`, `setsockopt` and the like."""
        return getattr(self._sock, name)

    @property
    def has_unsent(self) -> bool:
        """Whether a part of the handshake, or of what `send` did not take, waits for the kernel."""
        return bool(self._encrypted)

    def recv(self, size: int) -> bytes:
        """What the client has sent; b"" when it has left. Raises NothingYet, and OSError if it is no TLS."""
        raw = self._sock.recv(size)
        with self._lock:
            if self._is_new and raw:
                self._is_new = False
                self.is_plain = raw[0] != HANDSHAKE_RECORD
            if self.is_plain or self._has_ended or not raw:
                return raw
            self._arrived.write(raw)
            try:
                return self._clear()
            except ssl.SSLError as error:
                raise ConnectionAbortedError(errno.ECONNABORTED, f"TLS: {error.reason or error}") from error
            finally:
                with suppress(BlockingIOError):  # `flush` is called when the kernel takes more
                    self._push()

    def _clear(self) -> bytes:
        pieces: list[bytes] = []
        try:
            if not self._is_agreed:
                self._tls.do_handshake()
                self._is_agreed = True
            while piece := self._tls.read(_CLEARTEXT_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            if not pieces:
                raise NothingYet from None
        return b"".join(pieces)

    def send(self, piece: bytes) -> int:
        """Send from the start of `piece`; returns the bytes taken, which the kernel has then.

        Raises BlockingIOError when it has not taken all that was encrypted: call again with the same bytes.
        """
        with self._lock:
            if self.is_plain:
                return self._sock.send(piece)
            if not self._stands_for_bytes:
                view = memoryview(piece)[:_PIECE_BYTES]
                while self._stands_for_bytes < len(view):
                    self._stands_for_bytes += self._tls.write(view[self._stands_for_bytes :])
            self._push()
            taken, self._stands_for_bytes = self._stands_for_bytes, 0
            return taken

    def flush(self) -> None:
        """Send more of what is encrypted already. Raises OSError."""
        with self._lock, suppress(BlockingIOError):
            self._push()

    def _push(self) -> None:
        self._encrypted += self._to_send.read()
        while self._encrypted:
            n_sent = self._sock.send(self._encrypted)
            self._encrypted = self._encrypted[n_sent:]

    def shutdown(self, how: int) -> None:
        """Say that nothing follows; what still arrives is not decrypted any more."""
        self._say_end()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Say that nothing follows, and close."""
        self._say_end()
        self._sock.close()

    def _say_end(self) -> None:
        """Without it, the client could not tell the end from a connection that somebody cut."""
        with self._lock:
            if self._has_ended or self.is_plain or not self._is_agreed:
                return
            self._has_ended = True
            with suppress(OSError):  # it waits for the client's own end, or the client has left
                self._tls.unwrap()
            with suppress(OSError):
                self._push()
