"""Timed reads of uncached parts of one file. They stay in the page cache, where a loader wants them."""

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edged.hw.rate import TimedRead, is_settled
from edged.hw.residency import Run

MOST_BYTES = 31_500_000  # just more than a limit of 300 MB/s lets through before it shows
MOST_SECONDS = 0.25
_LARGEST_READ_BYTES = 252 << 12  # 256 single pages may be more than one request takes, and count as two reads
_SMALLEST_READ_BYTES = 64 << 10
_FIRST_READ_BYTES = 256 << 10
_READ_S = 0.025  # the time one read is made to take on slow storage, so that several fit
_RANDOM_READS = 8
_RANDOM_READ_BYTES = 4096
_RANDOM_S = 0.03
_KEPT_FOR_RANDOM_BYTES = 1 << 20
_ENOUGH_BYTES = 4 << 20  # less says nothing about a rate


@dataclass
class Samples:
    """What was measured so far. Filled by one thread; another may copy it when the time is up."""

    latencies: list[float] = field(default_factory=list)
    reads: list[TimedRead] = field(default_factory=list)
    bypassed_cache: bool = False

    @property
    def n_bytes(self) -> int:
        """The bytes of all sequential reads."""
        return sum(read.n_bytes for read in self.reads)


def sample(path: Path, uncached: Sequence[Run], budget_s: float, samples: Samples) -> None:
    """Time sequential reads, then small random ones, within the budget; raises OSError when it cannot read.

    The sequential ones come first: each of the others would count as a read where reads are limited.

    Where too little is uncached, reads that bypass the page cache (O_DIRECT) take its place; a filesystem
    without them yields no samples.
    """
    size_bytes = path.stat().st_size
    samples.bypassed_cache = sum(run.length for run in uncached) < _ENOUGH_BYTES
    runs = [Run(0, size_bytes)] if samples.bypassed_cache else list(uncached)
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if samples.bypassed_cache else 0))
    try:
        # Of this descriptor only: each read is then the request it says, and no readahead blurs its time.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        with mmap.mmap(-1, _LARGEST_READ_BYTES) as memory, memoryview(memory) as buffer:
            stop = time.perf_counter() + min(budget_s, MOST_SECONDS)
            _sequential(file, _without_end(runs, _KEPT_FOR_RANDOM_BYTES), buffer, stop, samples)
            _random(file, _without_start(runs, samples.n_bytes), buffer, samples)
    finally:
        os.close(file)


def random_offsets(runs: Sequence[Run], count: int) -> Iterator[int]:
    """Offsets of whole small blocks, spread over the runs, no two near each other."""
    total = sum(run.length for run in runs)
    for step in range(count):
        # Multiples of the golden ratio spread evenly and never walk in one direction, as readahead could.
        position = int((step + 1) * 0.6180339887498949 % 1.0 * total)
        for run in runs:
            if position < run.length:
                offset = (run.offset + position) // _RANDOM_READ_BYTES * _RANDOM_READ_BYTES
                if offset >= run.offset and offset + _RANDOM_READ_BYTES <= run.offset + run.length:
                    yield offset
                break
            position -= run.length


def _without_start(runs: Sequence[Run], n_bytes: int) -> list[Run]:
    """What is left of the runs when their first bytes are used up."""
    left = []
    for run in runs:
        skipped = min(n_bytes, run.length)
        n_bytes -= skipped
        if skipped < run.length:
            left.append(Run(run.offset + skipped, run.length - skipped))
    return left


def _without_end(runs: Sequence[Run], n_bytes: int) -> list[Run]:
    """What is left of the runs when their last bytes are kept, or half of them where there are few."""
    total = sum(run.length for run in runs)
    wanted, kept = total - min(n_bytes, total // 2), []
    for run in runs:
        length = min(wanted, run.length)
        wanted -= length
        if length:
            kept.append(Run(run.offset, length))
    return kept


def _random(file: int, runs: Sequence[Run], buffer: memoryview, samples: Samples) -> None:
    begin = time.perf_counter()
    for offset in random_offsets(runs, _RANDOM_READS):
        start = time.perf_counter()
        if start - begin > _RANDOM_S or not os.preadv(file, [buffer[:_RANDOM_READ_BYTES]], offset):
            return
        samples.latencies.append(time.perf_counter() - start)


def _sequential(file: int, runs: Sequence[Run], buffer: memoryview, stop: float, samples: Samples) -> None:
    size_bytes, longest_s = _FIRST_READ_BYTES, 0.0
    for run in runs:
        offset, end = run.offset, run.offset + run.length
        while offset < end:
            if samples.n_bytes + size_bytes > MOST_BYTES or is_settled(samples.reads):
                return
            start = time.perf_counter()
            if start + longest_s > stop and samples.reads:
                return  # the next read could take as long as the longest did
            n_bytes = _read(file, buffer[: min(size_bytes, end - offset)], offset, samples.bypassed_cache)
            if n_bytes == 0:
                return  # the file became shorter, or its last odd bytes cannot be read directly
            read = TimedRead(start, time.perf_counter(), n_bytes)
            samples.reads.append(read)
            offset += n_bytes
            longest_s = max(longest_s, read.took_s)
            size_bytes = _next_size(read)


def _read(file: int, buffer: memoryview, offset: int, whole_blocks: bool) -> int:
    if whole_blocks:
        buffer = buffer[: len(buffer) // _RANDOM_READ_BYTES * _RANDOM_READ_BYTES]
    return os.preadv(file, [buffer], offset) if buffer else 0


def _next_size(read: TimedRead) -> int:
    """How much to read next: a power of two that the last pace delivers in about `_READ_S`."""
    wanted = read.n_bytes * _READ_S / max(read.took_s, 1e-6)
    size = _SMALLEST_READ_BYTES
    while size < wanted and size < _LARGEST_READ_BYTES:
        size *= 2
    return size
