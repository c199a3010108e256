"""Which parts of a file are in the page cache, without reading any of it: mincore(2)."""

import ctypes
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edged.hw import text

_CHUNK_BYTES = 256 << 20  # of address space at a time: 32-bit systems have little
_SHORTEST_RUN_BYTES = 64 << 10  # of uncached pages that are worth a place in the list
_MOST_RUNS = 4096
_CAP_FOWNER = 3  # the bit's number: capabilities(7)
_ONLY_LOWEST_BIT = bytes(value & 1 for value in range(256))  # mincore(2): the other bits are reserved
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap64 if hasattr(_libc, "mmap64") else _libc.mmap  # 64-bit offsets on 32-bit systems too
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


class Run(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a file, in bytes."""

    offset: int
    length: int


class Residency(msgspec.Struct, frozen=True, kw_only=True):
    """What the page cache holds of a file, and the longer runs that it does not hold."""

    cached_share: float
    uncached: tuple[Run, ...]


def residency(file: int, deadline: float) -> Residency | None:
    """The residency of an open file; `deadline` is of time.monotonic().

    None for an empty file, when the time is up, and when the kernel would not say: to a process that could
    not write the file it reports every page as cached. Raises OSError when the file cannot be mapped.
    """
    size_bytes = os.fstat(file).st_size
    cached_pages, total_pages = 0, 0
    runs: list[Run] = []
    for offset in range(0, size_bytes, _CHUNK_BYTES):
        if time.monotonic() > deadline:
            return None
        pages = _pages(file, offset, min(_CHUNK_BYTES, size_bytes - offset))
        cached_pages += pages.count(1)
        total_pages += len(pages)
        runs += (Run(offset + run.offset, run.length) for run in uncached_runs(pages, mmap.PAGESIZE))
    if total_pages == 0 or (cached_pages == total_pages and not _may_ask(file)):
        return None
    ends = (Run(r.offset, min(r.length, size_bytes - r.offset)) for r in runs[:_MOST_RUNS])
    return Residency(cached_share=cached_pages / total_pages, uncached=tuple(ends))


def cached_bytes(path: str, deadline: float) -> int | None:
    """How much of a file is in the page cache; None as for `residency`, and without the file."""
    try:
        with open(path, "rb") as file:
            found = residency(file.fileno(), deadline)
            return None if found is None else round(found.cached_share * os.fstat(file.fileno()).st_size)
    except OSError:
        return None


def uncached_runs(pages: bytes, page_bytes: int) -> Iterator[Run]:
    """The longer runs of zeros in a vector with one byte a page: 1 for cached, 0 for not."""
    shortest = max(1, _SHORTEST_RUN_BYTES // page_bytes)
    start = pages.find(b"\0" * shortest)
    while start >= 0:
        end = pages.find(b"\1", start)
        end = len(pages) if end < 0 else end
        yield Run(start * page_bytes, (end - start) * page_bytes)
        start = pages.find(b"\0" * shortest, end)


def _pages(file: int, offset: int, length: int) -> bytes:
    """One byte a page: 1 for cached, 0 for not."""
    vector = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    address = _mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, offset)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap failed")
    try:
        if _libc.mincore(address, length, vector) != 0:
            raise OSError(ctypes.get_errno(), "mincore failed")
    finally:
        _libc.munmap(address, length)
    return vector.raw.translate(_ONLY_LOWEST_BIT)


def _may_ask(file: int) -> bool:
    """Whether mincore tells this process the truth: to owners of the file and to those who may write it."""
    status = os.fstat(file)
    if status.st_uid == os.geteuid() or os.access(f"/proc/self/fd/{file}", os.W_OK, effective_ids=True):
        return True
    return bool(effective_capabilities(text.read(Path("/proc/self/status")) or "") >> _CAP_FOWNER & 1)


def effective_capabilities(status: str) -> int:
    """The effective capabilities in the text of /proc/self/status, as a bit set; 0 when there are none."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            try:
                return int(value.strip(), 16)
            except ValueError:
                return 0
    return 0
