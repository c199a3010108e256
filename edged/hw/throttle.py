"""The limit that control groups set on this process's reads from one disk."""

from pathlib import Path
from typing import NamedTuple

from edged.hw import text
from edged.hw.cgroup import hierarchy

_READ_BYTES = 1 << 20  # what a loader reads at a time, where reads and not bytes are limited


class ReadLimits(NamedTuple):
    """The tightest limits on reads a second; None without one. `bytes_per_s` is what both allow a loader."""

    bytes_per_s: int | None
    reads_per_s: int | None


def read_limits(number: str, proc: Path = Path("/proc")) -> ReadLimits:
    """The limits on reads from the disk "MAJ:MIN" that can be seen from here.

    A limit that a container cannot see, since it lies above what it has mounted, is not found.
    """
    found = _limits(number, proc)
    rates = [limit for rate, reads in found for limit in (rate, reads and reads * _READ_BYTES) if limit]
    return ReadLimits(min(rates, default=None), min((reads for _, reads in found if reads), default=None))


def _limits(number: str, proc: Path) -> list[tuple[int | None, int | None]]:
    """Bytes and reads a second that each group allows."""
    found = hierarchy("blkio", proc)
    if found is None:
        return []
    limits = []
    for folder in found.folders:
        if found.version == 2:
            values = parse_io_max(text.read(folder / "io.max") or "", number)
            limits.append((values.get("rbps"), values.get("riops")))
        else:
            rate = parse_v1(text.read(folder / "blkio.throttle.read_bps_device") or "", number)
            reads = parse_v1(text.read(folder / "blkio.throttle.read_iops_device") or "", number)
            limits.append((rate, reads))
    return limits


def parse_io_max(content: str, number: str) -> dict[str, int]:
    """The limits of one disk in version 2's io.max, without those that are `max`. Never raises."""
    for line in content.splitlines():
        disk, *pairs = line.split() or [""]
        if disk == number:
            values = ((name, text.integer(value)) for name, _, value in (p.partition("=") for p in pairs))
            return {name: value for name, value in values if value is not None}
    return {}


def parse_v1(content: str, number: str) -> int | None:
    """The limit of one disk in a blkio.throttle file of version 1. Never raises."""
    for line in content.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] == number:
            return text.integer(fields[1])
    return None
