"""Whose reader reads: models that load at the same time take turns at their storage.

Two readers that share a storage are both done late. One after the other, the shortest first, the first is
done sooner and the last no later, so that the mean is the least there is. Who is waited for goes first.

The board is a file whose descriptor all runners of a daemon inherit, with a place for each model. A place
counts while its reader has a record lock on it, which the kernel frees when the reader dies; one whose bytes
do not become fewer for PATIENCE_S hangs and is passed over.
"""

import fcntl
import os
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

PATIENCE_S = 5.0  # longer than a chunk takes on the slowest card
POLL_S = 0.004
_FIELD = struct.Struct("=q")
# Waited for, by requests that the daemon holds (it alone writes that) or that the runner has; the file's
# device; bytes left, 0 while nothing is read.
_PLACE = struct.Struct("=qqqq")
_EXPECTED, _ASKED, _DEVICE, _LEFT = (8 * field for field in range(4))
_MOST_BYTES = 1 << 16


class _Reader(NamedTuple):
    """What one place of the board says."""

    place: int
    device: int
    left_bytes: int
    wanted: bool

    @property
    def turn(self) -> tuple[bool, int, int]:
        """Readers take their turns in this order."""
        return not self.wanted, self.left_bytes, self.place


def expect(board_fd: int, model: int, *, expected: bool) -> None:
    """Say for the model of this number whether requests wait until it is loaded. For the daemon."""
    os.pwrite(board_fd, _FIELD.pack(expected), model * _PLACE.size + _EXPECTED)


class Turns:
    """A reader's place on the board. For its thread alone, but for `ask`."""

    def __init__(self, board_fd: int | None, model: int) -> None:
        self._fd = board_fd  # not opened anew: closing any descriptor of a file frees a process's locks on it
        self._place = model
        self._offset = self._place * _PLACE.size
        self._device = 0
        self._seen: dict[int, tuple[int, float]] = {}  # bytes left by place, and since when

    def enter(self, device: int, left_bytes: int) -> None:
        """Begin to take turns on the storage `device` (st_dev)."""
        self._device = device
        if self._fd is not None:
            # others hold it for moments, when they look whether its reader is alive
            fcntl.lockf(self._fd, fcntl.LOCK_EX, _PLACE.size, self._offset)
            # an earlier runner of the model may have died here, with somebody waiting for it
            os.pwrite(self._fd, struct.pack("=qqq", 0, device, left_bytes), self._offset + _ASKED)

    def leave(self) -> None:
        """Nothing is left to read."""
        if self._fd is not None:
            os.pwrite(self._fd, struct.pack("=qqq", 0, 0, 0), self._offset + _ASKED)
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _PLACE.size, self._offset)

    def ask(self) -> None:
        """A request waits for the bytes that are still to be read."""
        if self._fd is not None:
            os.pwrite(self._fd, _FIELD.pack(1), self._offset + _ASKED)

    def mine(self, left_bytes: int) -> bool:
        """Whether it is this reader's turn, with so many bytes still to be read."""
        if self._fd is None:
            return True
        os.pwrite(self._fd, _FIELD.pack(left_bytes), self._offset + _LEFT)
        board = os.pread(self._fd, _MOST_BYTES, 0)
        readers = [
            _Reader(place, device, left, bool(expected or asked))
            for place, (expected, asked, device, left) in enumerate(_places(board))
        ]
        own = readers[self._place]
        return not any(
            other.turn < own.turn and self._reads(other)
            for other in readers
            if other.left_bytes > 0 and other.device == self._device and other.place != own.place
        )

    def wait(self, left_bytes: int, stopped: Callable[[], bool]) -> None:
        """Return when it is this reader's turn, or when it is `stopped`."""
        while not stopped() and not self.mine(left_bytes):
            time.sleep(POLL_S)

    def _reads(self, other: _Reader) -> bool:
        """Whether a reader that goes before this one is alive and gets on."""
        assert self._fd is not None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _PLACE.size, other.place * _PLACE.size)
        except BlockingIOError:
            now_s = time.monotonic()
            left_bytes, since_s = self._seen.get(other.place, (-1, now_s))
            if left_bytes != other.left_bytes:
                since_s = now_s
            self._seen[other.place] = (other.left_bytes, since_s)
            return now_s - since_s < PATIENCE_S
        os.pwrite(self._fd, _FIELD.pack(0), other.place * _PLACE.size + _LEFT)
        fcntl.lockf(self._fd, fcntl.LOCK_UN, _PLACE.size, other.place * _PLACE.size)
        return False


def _places(board: bytes) -> list[tuple[int, int, int, int]]:
    whole = len(board) + -len(board) % _PLACE.size
    return list(_PLACE.iter_unpack(board.ljust(whole, b"\0")))
