"""Reads the front of a file piece by piece, holding one small window of it and never going past its end."""

import os
import struct
from typing import BinaryIO

from edged.errors import ModelFileError

WINDOW_BYTES = 1 << 20
# The largest vocabularies (262k tokens with their merges) take some 15 MB. The bound caps the time that a
# hostile file can cost: 8 million empty strings are walked in about a second.
MAX_HEADER_BYTES = 64 << 20
_LENGTH = struct.Struct("<Q")


class Cursor:
    """A position in an open file. Every read raises ModelFileError where the file or the bound ends.

    Plain reads, no mapping: a file that shrinks while it is read is an error here, not a SIGBUS.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.path = path
        self.size_bytes = os.fstat(file.fileno()).st_size
        self._file = file
        self._end = min(self.size_bytes, MAX_HEADER_BYTES)
        self._window = b""
        self._window_offset = 0
        self._in_window = 0

    @property
    def offset(self) -> int:
        """Where the next read starts."""
        return self._window_offset + self._in_window

    def fail(self, what: str) -> ModelFileError:
        """The error for this file: what is wrong with it, and what to do."""
        return ModelFileError(
            f"{self.path}: not a usable GGUF file: {what}; the file is damaged or incomplete, pull it again"
        )

    def take(self, n_bytes: int) -> bytes:
        """The next `n_bytes`."""
        self._need(n_bytes)
        start = self._in_window
        self._in_window += n_bytes
        return self._window[start : self._in_window]

    def skip(self, n_bytes: int) -> None:
        """Go on without reading what is passed over."""
        self._seek(self.offset + n_bytes)

    def skip_strings(self, count: int) -> None:
        """Pass over `count` strings, each led by its length."""
        if count > (self._end - self.offset) // _LENGTH.size:
            raise self.fail(
                f"it announces {count} strings where at most {self._end - self.offset} bytes follow"
            )
        unpack = _LENGTH.unpack_from
        while count:
            self._need(_LENGTH.size)
            window, at = self._window, self._in_window
            last = len(window) - _LENGTH.size
            while count and at <= last:
                at += _LENGTH.size + unpack(window, at)[0]
                count -= 1
            self._seek(self._window_offset + at)

    def _need(self, n_bytes: int) -> None:
        if self._in_window + n_bytes <= len(self._window):
            return
        offset = self.offset
        self._check(offset + n_bytes)
        self._file.seek(offset)
        # Rounded up so that a run of small reads costs few system calls; n_bytes is checked against the file.
        self._window = self._file.read(min(max(n_bytes, WINDOW_BYTES), self._end - offset))
        self._window_offset, self._in_window = offset, 0
        if len(self._window) < n_bytes:
            raise self.fail(f"it ended at byte {offset + len(self._window)} while it was being read")

    def _seek(self, offset: int) -> None:
        self._check(offset)
        self._in_window = offset - self._window_offset
        if self._in_window > len(self._window):
            self._window, self._window_offset, self._in_window = b"", offset, 0

    def _check(self, end: int) -> None:
        if end <= self._end:
            return
        if end <= self.size_bytes:
            raise self.fail(f"its header is longer than {MAX_HEADER_BYTES} bytes")
        raise self.fail(f"its header reaches beyond its end (byte {end} of {self.size_bytes})")
