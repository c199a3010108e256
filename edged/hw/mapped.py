"""How much of a file a process uses at this moment: the pages of it that its page tables hold.

By /proc/PID/pagemap (proc_pid_pagemap(5)), which holds the process's lock for 2 MiB at a time only.
/proc/PID/smaps says the same and takes as long, but all of that under the lock.
"""

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edged.hw import text

_ENTRY_BYTES = 8
_CHUNK_PAGES = 1 << 16
_PRESENT = bytes(value >> 7 for value in range(256))  # bit 63; edged runs on little-endian machines


class Span(NamedTuple):
    """Addresses, the end not included."""

    begin: int
    end: int


def mapped_bytes(pid: int, path: str, deadline: float, proc: Path = Path("/proc")) -> int | None:
    """The bytes of a file that a process has in its page tables; `deadline` is of time.monotonic().

    None when the process has ended or may not be asked, and when the time is up.
    """
    maps = text.read(proc / str(pid) / "maps")
    if not maps:
        return None
    n_present = 0
    try:
        with (proc / str(pid) / "pagemap").open("rb", buffering=0) as pagemap:
            for begin, end in spans_of(maps, os.path.realpath(path)):
                for page in range(begin // mmap.PAGESIZE, end // mmap.PAGESIZE, _CHUNK_PAGES):
                    if time.monotonic() > deadline:
                        return None
                    n_pages = min(_CHUNK_PAGES, end // mmap.PAGESIZE - page)
                    entries = os.pread(pagemap.fileno(), n_pages * _ENTRY_BYTES, page * _ENTRY_BYTES)
                    n_present += entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(_PRESENT).count(1)
    except OSError:
        return None
    return n_present * mmap.PAGESIZE


def spans_of(maps: str, path: str) -> Iterator[Span]:
    """Where the text of /proc/PID/maps says that a file is mapped."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == path:
            begin, _, end = fields[0].partition("-")
            yield Span(int(begin, 16), int(end, 16))
