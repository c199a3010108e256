"""The model's memory map in this process: advice for parts of it, and pages that pressure cannot take."""

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edged.runner.protocol import FileRange

_MADV_RANDOM, _MADV_DONTNEED = 1, 4
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_COPY_BYTES = 4 << 20


def advise_random(path: str, ranges: Sequence[FileRange]) -> None:
    """Keep the kernel's readahead from reading what lies around rows that are picked here and there."""
    _advise(path, ranges, _MADV_RANDOM)


class Rows:
    """The rows of a model's token table, where it is a table to pick rows from.

    A pass touches its rows one after the other, and each read would queue behind what another model's reader
    has asked for; asked for at once, they queue once.
    """

    def __init__(self, path: str, tables: Sequence[FileRange], n_rows: int) -> None:
        """`tables` are read here and there; anything but one table of `n_rows` is left to page faults."""
        whole = len(tables) == 1 and n_rows > 0 and tables[0].length % n_rows == 0
        self._path = path
        self._offset = tables[0].offset if whole else 0
        self._row_bytes = tables[0].length // n_rows if whole else 0
        self._asked_for: set[int] = set()

    def forget(self) -> None:
        """The rows asked for so far have been given back."""
        self._asked_for.clear()

    def want(self, inputs: Sequence[Sequence[int]]) -> None:
        """Begin to read the rows of those tokens that are new; returns at once."""
        new = {token for tokens in inputs for token in tokens} - self._asked_for
        if not self._row_bytes or not new:
            return
        self._asked_for |= new
        try:
            with open(self._path, "rb", buffering=0) as file:
                for token in new:
                    offset = self._offset + token * self._row_bytes
                    os.posix_fadvise(file.fileno(), offset, self._row_bytes, os.POSIX_FADV_WILLNEED)
        except OSError as error:  # the map still has them, at the pace of page faults
            print(f"{self._path}: {error}", file=sys.stderr)


def let_go(path: str, ranges: Sequence[FileRange]) -> None:
    """Give back the pages of parts that are used no more; they stay cached while nobody needs the room."""
    _advise(path, ranges, _MADV_DONTNEED)


def give_back(path: str) -> None:
    """Give back a file's pages, the page cache's as well, but for pinned ones."""
    try:
        with open(path, "rb", buffering=0) as file:
            whole = [FileRange(0, os.fstat(file.fileno()).st_size)]
            for address, _, length in _mapped(path, whole):
                # refused (EINVAL) where the pages are locked
                _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), _MADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:  # removed since: the map has it still, and keeps it
        print(f"{path}: its pages cannot be given back: {error}", file=sys.stderr)


def _advise(path: str, ranges: Sequence[FileRange], advice: int) -> None:
    for address, _, length in _mapped(path, ranges):
        if _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), advice) != 0:
            print(f"madvise: {os.strerror(ctypes.get_errno())}", file=sys.stderr)


def pin(path: str, ranges: Sequence[FileRange]) -> int:
    """Keep `ranges` in RAM, whatever the pressure; returns the bytes that are kept.

    Locked where this process may (RLIMIT_MEMLOCK); elsewhere the map's pages are replaced by anonymous
    copies, which nothing but swap can take. Computing may go on meanwhile.
    """
    pinned_bytes = 0
    for address, offset, length in _mapped(path, ranges):
        if _libc().mlock(ctypes.c_void_p(address), ctypes.c_size_t(length)) == 0:
            pinned_bytes += length
        else:
            pinned_bytes += _copy(path, address, offset, length)
    return pinned_bytes


def _copy(path: str, address: int, offset: int, length: int) -> int:
    """Put anonymous copies of the file's bytes in the place of its pages, a few MiB at a time."""
    done = 0
    with open(path, "rb", buffering=0) as file:
        while done < length:
            size = min(_COPY_BYTES, length - done)
            if not _copy_piece(file.fileno(), address + done, offset + done, size):
                print(f"pinning stopped at {done} of {length} bytes", file=sys.stderr)
                break
            os.posix_fadvise(file.fileno(), offset + done, size, os.POSIX_FADV_DONTNEED)
            done += size
    return done


def _copy_piece(file: int, address: int, offset: int, size: int) -> bool:
    libc = _libc()
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    copy = libc.mmap(
        None, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE, private, -1, ctypes.c_long(0)
    )
    if copy in (None, ctypes.c_void_p(-1).value):
        return False
    buffer = (ctypes.c_char * size).from_address(copy)
    whole = os.preadv(file, [memoryview(buffer)], offset) == size
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    moved = (
        whole
        and libc.mremap(
            ctypes.c_void_p(copy),
            ctypes.c_size_t(size),
            ctypes.c_size_t(size),
            flags,
            ctypes.c_void_p(address),
        )
        == address
    )
    if not moved:
        libc.munmap(ctypes.c_void_p(copy), ctypes.c_size_t(size))
    return bool(moved)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    return libc


def _mapped(path: str, ranges: Sequence[FileRange]) -> Iterator[tuple[int, int, int]]:
    """(address, file offset, length) of the whole pages of `ranges`, in their order, in the map of `path`."""
    page = mmap.PAGESIZE
    real = os.fsencode(os.path.realpath(path))
    # bytes, since what else is mapped may have a name that no text can hold
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_bytes().split(b"\n")]
    for piece in ranges:
        for fields in maps:
            if len(fields) < 6 or fields[5] != real:
                continue
            begin, end = (int(part, 16) for part in fields[0].split(b"-"))
            shift = begin - int(fields[2], 16)  # from a file offset to its address
            first = -(-max(begin, piece.offset + shift) // page) * page
            last = min(end, piece.offset + piece.length + shift) // page * page
            if first < last:
                yield first, first - shift, last - first
