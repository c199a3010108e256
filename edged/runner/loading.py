"""Getting a model's bytes into memory: the reader, the map's advice, and locking."""

import ctypes
import errno
import mmap
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edged.runner.protocol import Embeddings, FileRange, FromRunner, Progress, Reads, Scores, Start, Step
from edged.runner.turns import Turns

_CHUNK_BYTES = 1 << 20
_REPORT_EVERY_S = 0.1


class Prefetch:
    """A sequential reader that fills the page cache, in the order in which the bytes are wanted.

    It reads rather than asks for readahead, so that its progress is true; llama.cpp's map shares the pages.
    Between chunks it lets others read whose turn it is; what is cached it takes at any time.
    """

    def __init__(
        self,
        path: str,
        ranges: Sequence[FileRange],
        report: Callable[[Progress], None],
        turns: Turns,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called as long as reading, or waiting for a turn, gets on."""
        self._path = path
        self._ranges = ranges
        self._report = report
        self._turns = turns
        self._beat = beat
        self._bytes_total = sum(piece.length for piece in ranges)
        self._bytes_done = 0
        self._reading_s = 0.0
        self._begun = threading.Event()
        self._in_turn = threading.Event()
        self._finished = threading.Event()
        self._stop = threading.Event()
        self._restarting = threading.Lock()
        if not self._bytes_total:
            self._nothing_is_left()

    @property
    def done(self) -> bool:
        """Whether every range has been read (or the reader gave up: then the map reads on demand)."""
        return self._finished.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    @property
    def reading_s(self) -> float:
        """The time spent on reads so far, without waiting for a turn."""
        return self._reading_s

    def start(self) -> None:
        """Read in a thread of its own; returns at once."""
        threading.Thread(target=self._run, name="prefetch", daemon=True).start()

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        self._stop.set()

    def again(self, ranges: Sequence[FileRange]) -> None:
        """Read `ranges` in a thread of its own, what is cached as well; nothing happens while it reads."""
        with self._restarting:
            if not self.done or not ranges:
                return
            self._ranges = ranges
            self._bytes_total, self._bytes_done = sum(piece.length for piece in ranges), 0
            for event in (self._stop, self._begun, self._in_turn, self._finished):
                event.clear()
        self.start()

    def wait(self) -> None:
        """Return when the reader has finished."""
        self._finished.wait()

    def wait_until_begun(self) -> None:
        """Return when the first bytes are there: parsing them before would take the storage from others."""
        self._begun.wait()

    def wait_for_turn(self) -> None:
        """Return when it is the reader's turn, or it has finished: faults before would take another's."""
        self._in_turn.wait()

    def _run(self) -> None:
        try:
            with open(self._path, "rb", buffering=0) as file:
                self._turns.enter(os.fstat(file.fileno()).st_dev, self._bytes_total)
                try:
                    self._read(file.fileno())
                finally:
                    self._turns.leave()
        except OSError as error:
            print(f"prefetch of {self._path} stopped: {error}", file=sys.stderr)
        finally:
            self._nothing_is_left()
            self._report(Progress("prefetch", self._bytes_done, self._bytes_total))

    def _nothing_is_left(self) -> None:
        for event in (self._begun, self._in_turn, self._finished):
            event.set()

    def _read(self, fd: int) -> None:
        buffer = bytearray(_CHUNK_BYTES)
        view = memoryview(buffer)
        reported_s = 0.0
        for piece in self._ranges:
            offset, end = piece.offset, piece.offset + piece.length
            while offset < end and not self._stop.is_set():
                count = self._read_chunk(fd, view[: min(_CHUNK_BYTES, end - offset)], offset)
                if count == 0:
                    raise OSError(f"the file ended at byte {offset}, {end} were expected")
                offset += count
                self._bytes_done += count
                self._beat()
                self._begun.set()
                if (now_s := time.monotonic()) - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    self._report(Progress("prefetch", self._bytes_done, self._bytes_total))

    def _read_chunk(self, fd: int, into: memoryview, offset: int) -> int:
        """Read a chunk when it is this reader's turn, or now what is cached of it."""
        left_bytes = self._bytes_total - self._bytes_done
        if not self._turns.mine(left_bytes):
            if count := _read_cached(fd, into, offset):
                return count
            self._in_turn.clear()
            self._turns.wait(left_bytes, self._stopped_waiting)
        self._in_turn.set()
        began_s = time.monotonic()
        count = os.preadv(fd, [into], offset)
        self._reading_s += time.monotonic() - began_s
        return count

    def _stopped_waiting(self) -> bool:
        """Asked again and again while it waits for its turn: others may read for minutes."""
        self._beat()
        return self._stop.is_set()


def _read_cached(fd: int, into: memoryview, offset: int) -> int:
    """Read what the page cache holds at `offset`; 0 where that is nothing, or the file system cannot tell."""
    try:
        if os.preadv(fd, [into[: mmap.PAGESIZE]], offset, os.RWF_NOWAIT) == 0:  # asks for little if in vain
            return 0
        return os.preadv(fd, [into], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return 0
        raise


def ranges_to_warm(start: Start) -> tuple[FileRange, ...]:
    """What a warm-up may find evicted: neither what is pinned nor what is not used in the file any more."""
    return () if start.mlock_bytes else without(start.prefetch, start.replaced)


def without(ranges: Sequence[FileRange], removed: Sequence[FileRange]) -> tuple[FileRange, ...]:
    """The parts of `ranges`, in their order, that lie in none of `removed`."""
    left = list(ranges)
    for hole in removed:
        begin, end = hole.offset, hole.offset + hole.length
        pieces = (
            (max(first, piece.offset), min(last, piece.offset + piece.length))
            for piece in left
            for first, last in ((piece.offset, begin), (end, piece.offset + piece.length))
        )
        left = [FileRange(first, last - first) for first, last in pieces if first < last]
    return tuple(left)


def anon_bytes() -> int | None:
    """This process's anonymous memory."""
    return _status_bytes("RssAnon:")


def resident_bytes() -> int:
    """What this process has in memory, mapped files included."""
    return _status_bytes("VmRSS:") or 0


def _status_bytes(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
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
        if not told and isinstance(frame, Step | Embeddings | Scores):
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
