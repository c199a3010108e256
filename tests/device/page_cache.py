"""The page cache seen and emptied, for one file at a time."""

import ctypes
import mmap
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


class StillCached(Exception):
    """Pages of the file stay in memory: some process has them mapped or locked."""


def cold(path: Path) -> None:
    """Put a file out of the page cache; the next read comes from the storage. Raises StillCached."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)  # dirty pages cannot be dropped
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    left = cached_bytes(path)
    if left:
        raise StillCached(
            f"{path}: {left} bytes stay in the page cache; does a process have the file mapped?"
        )


def cached_bytes(path: Path) -> int:
    """How much of a file is in the page cache now, in whole pages (mincore(2))."""
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        return 0
    pages = -(-size_bytes // mmap.PAGESIZE)
    resident = ctypes.create_string_buffer(pages)
    # a private, writable mapping only because ctypes takes an address from nothing else; no page is touched
    with path.open("rb") as file, mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_COPY) as mapping:
        first = ctypes.c_char.from_buffer(mapping)
        try:
            if _libc.mincore(ctypes.addressof(first), size_bytes, resident):
                raise OSError(ctypes.get_errno(), "mincore failed", str(path))
        finally:
            del first  # the mapping cannot be closed while something points into it
    return sum(byte & 1 for byte in resident.raw[:pages]) * mmap.PAGESIZE
