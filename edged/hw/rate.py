"""How fast uncached bytes come: the arithmetic over timed reads. Pure; `sampling.py` does the reading.

A cgroup limit on reads (blk-throttle) hands out its bytes in slices of 0.1 s: what a slice allows passes at
full speed, the next read stalls until the books balance. So is a virtual disk's burst credit. Bytes over
time are then only true from one balance to another: from the end of one stall to the end of the next, or
from the first read, where a slice began with it, to the end of its stall.
"""

import statistics
from collections.abc import Sequence

import msgspec

SLICE_S = 0.1  # the kernel's DFL_THROTL_SLICE
_NEARLY_A_SLICE_S = 0.8 * SLICE_S  # between stalls: one that ends a tick late may be followed by an early one
_FRESH_SLICE_S = 0.94 * SLICE_S  # its end is counted in ticks of 4 ms, or of 10 at worst
_STALL_S = 0.01
_STALL_RATIO = 4
_HICCUP_S = 0.02
_LARGEST_OVERHEAD_SHARE = 0.5
_CLOCK_S = 1e-9


class TimedRead(msgspec.Struct, frozen=True, array_like=True):
    """One sequential read; times are of time.perf_counter()."""

    start_s: float
    end_s: float
    n_bytes: int

    @property
    def took_s(self) -> float:
        """How long the read took."""
        return self.end_s - self.start_s


def sequential_bytes_per_s(reads: Sequence[TimedRead], request_overhead_s: float) -> float | None:
    """The lasting rate of reads that followed each other; None without any.

    `request_overhead_s` is the waiting in each read that a reader with readahead does not see.
    """
    if not reads:
        return None
    stalls = _stalls(reads)
    if len(stalls) > 1 and _apart_s(reads, stalls) >= _NEARLY_A_SLICE_S:
        return _rate(reads[stalls[0] + 1 : stalls[-1] + 1], _apart_s(reads, stalls))
    if len(stalls) == 1 and not _is_hiccup(reads, stalls[0]):
        # Where others read before in this slice, its whole length is the nearest guess: it may be too low.
        return _rate(reads[: stalls[0] + 1], max(SLICE_S, _age_s(reads, stalls[0])))
    return _rate(reads, sum(read.took_s - _overhead_s(read, request_overhead_s) for read in reads))


def is_settled(reads: Sequence[TimedRead]) -> bool:
    """Whether more reads would hardly change the rate: even ones for over a slice, or a whole slice seen."""
    if len(reads) < 3:
        return False
    stalls = _stalls(reads)
    if stalls:
        return _apart_s(reads, stalls) >= _NEARLY_A_SLICE_S
    return reads[-1].end_s - reads[0].start_s > 1.25 * SLICE_S


def random_latency_s(latencies: Sequence[float]) -> float | None:
    """The latency of a small random read: the median, since the first also reads the file's block map."""
    return statistics.median(latencies) if latencies else None


def _stalls(reads: Sequence[TimedRead]) -> list[int]:
    """The reads that took several times as long, byte for byte, as the fastest.

    On slow even storage a lucky first read makes stalls of all others, which does no harm: from the end of
    one to the end of another is then nearly all of the time there is.
    """
    if len(reads) < 2:
        return []
    pace = min(read.took_s / read.n_bytes for read in reads)
    return [
        index
        for index, read in enumerate(reads)
        if read.took_s >= max(_STALL_S, _STALL_RATIO * pace * read.n_bytes)
    ]


def _apart_s(reads: Sequence[TimedRead], stalls: Sequence[int]) -> float:
    """The time from the end of the first stall to the end of the last."""
    return reads[stalls[-1]].end_s - reads[stalls[0]].end_s


def _age_s(reads: Sequence[TimedRead], stall: int) -> float:
    """The time from the first read to the end of a stall."""
    return reads[stall].end_s - reads[0].start_s


def _is_hiccup(reads: Sequence[TimedRead], stall: int) -> bool:
    """Whether a lone stall is no limit's: the first read, a short one, or one with too much after it."""
    if stall == 0:
        return True
    if _age_s(reads, stall) >= _FRESH_SLICE_S:
        return False
    until, after = reads[: stall + 1], reads[stall + 1 :]
    if after and after[-1].end_s - after[0].start_s > SLICE_S:
        return True
    bytes_until, bytes_after = (sum(read.n_bytes for read in part) for part in (until, after))
    return reads[stall].took_s < _HICCUP_S or bytes_after >= 2 * bytes_until


def _overhead_s(read: TimedRead, request_overhead_s: float) -> float:
    return min(request_overhead_s, _LARGEST_OVERHEAD_SHARE * read.took_s)


def _rate(reads: Sequence[TimedRead], seconds: float) -> float | None:
    n_bytes = sum(read.n_bytes for read in reads)
    return n_bytes / seconds if seconds > _CLOCK_S and n_bytes > 0 else None
