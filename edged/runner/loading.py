"""Getting a model's bytes into memory: the reader, the map's advice, and locking."""

import ctypes
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edged.runner.protocol import Embeddings, FileRange, FromRunner, Progress, Reads, Step

_CHUNK_BYTES = 1 << 20
_REPORT_EVERY_S = 0.1


class Prefetch:
    """A sequential reader that fills the page cache, in the order in which the bytes are wanted.

    It reads rather than asks for readahead, so that its progress is true; llama.cpp's map shares the pages.
    """

    def __init__(self, path: str, ranges: Sequence[FileRange], report: Callable[[Progress], None]) -> None:
        self._path = path
        self._ranges = ranges
        self._report = report
        self._bytes_total = sum(piece.length for piece in ranges)
        self._bytes_done = 0
        self._finished = threading.Event()
        self._stop = threading.Event()

    @property
    def done(self) -> bool:
        """Whether every range has been read (or the reader gave up: then the map reads on demand)."""
        return self._finished.is_set()

    @property
    def stopped(self) -> bool:
        """Whether the runner is about to end."""
        return self._stop.is_set()

    def start(self) -> None:
        """Read in a thread of its own; returns at once."""
        threading.Thread(target=self._run, name="prefetch", daemon=True).start()

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        self._stop.set()

    def wait(self) -> None:
        """Return when the reader has finished."""
        self._finished.wait()

    def _run(self) -> None:
        try:
            with open(self._path, "rb", buffering=0) as file:
                self._read(file.fileno())
        except OSError as error:
            print(f"prefetch of {self._path} stopped: {error}", file=sys.stderr)
        finally:
            self._finished.set()
            self._report(Progress("prefetch", self._bytes_done, self._bytes_total))

    def _read(self, fd: int) -> None:
        buffer = bytearray(_CHUNK_BYTES)
        view = memoryview(buffer)
        reported_s = 0.0
        for piece in self._ranges:
            offset, end = piece.offset, piece.offset + piece.length
            while offset < end and not self._stop.is_set():
                count = os.preadv(fd, [view[: min(_CHUNK_BYTES, end - offset)]], offset)
                if count == 0:
                    raise OSError(f"the file ended at byte {offset}, {end} were expected")
                offset += count
                self._bytes_done += count
                if (now_s := time.monotonic()) - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    self._report(Progress("prefetch", self._bytes_done, self._bytes_total))


def anon_bytes() -> int | None:
    """This process's anonymous memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def reads_so_far() -> Reads:
    """What this process, all its threads together, has cost the storage until now (proc(5), getrusage(2))."""
    return Reads(
        read_bytes=_read_bytes(Path("/proc/self/io")),
        major_faults=resource.getrusage(resource.RUSAGE_SELF).ru_majflt,
    )


def telling_reads(send: Callable[[FromRunner], None]) -> Callable[[FromRunner], None]:
    """`send`, followed after the first answer, once, by what everything until then has read."""
    told = False

    def sending(frame: FromRunner) -> None:
        nonlocal told
        send(frame)
        if not told and isinstance(frame, Step | Embeddings):
            told = True
            send(reads_so_far())

    return sending


def _read_bytes(io: Path) -> int | None:
    """None where the kernel keeps no account of input and output, or does not show it."""
    try:
        content = io.read_text()
    except OSError:
        return None
    line = next((line for line in content.splitlines() if line.startswith("read_bytes:")), "")
    count = line.partition(":")[2].strip()
    return int(count) if count.isdigit() else None


def lazy_map_is_loaded() -> bool:
    """Whether lazymap was preloaded into this process."""
    return hasattr(ctypes.CDLL(None), "edged_abort_requested")
