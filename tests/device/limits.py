"""What a device's limits are called in cgroup v1 and v2. Pure: facts in, (file, text) pairs out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.device.cgroups import Hierarchy

_PERIOD_US = 100_000


@dataclass(frozen=True)
class Limits:
    """What the device has; None is as much as the machine has. Rates are of reads."""

    ram_bytes: int | None = None
    read_bytes_per_s: int | None = None
    reads_per_s: int | None = None
    cpus: float | None = None


# CPUs are as fast as this machine's: the four slow cores of a small board compute about as much as one.
PROFILES = {
    "sd20": Limits(ram_bytes=512 << 20, read_bytes_per_s=20_000_000, cpus=1),
    "sd40": Limits(ram_bytes=1 << 30, read_bytes_per_s=40_000_000, cpus=2),
    "emmc90": Limits(ram_bytes=2 << 30, read_bytes_per_s=90_000_000, cpus=2),
    "usb300": Limits(ram_bytes=4 << 30, read_bytes_per_s=300_000_000, cpus=2),
    "nvme": Limits(ram_bytes=8 << 30, cpus=4),
    # A seek and half a turn of the platter take 8 ms.
    "hdd100": Limits(ram_bytes=4 << 30, read_bytes_per_s=100_000_000, reads_per_s=120, cpus=2),
}


def settings(
    limits: Limits, hierarchies: Mapping[str, Hierarchy], disks: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Controller -> files and what to write into them. `disks` are MAJOR:MINOR of whole disks.

    Sources: Linux's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/{memory,blkio-controller}.rst.
    """
    wanted: dict[str, list[tuple[str, str]]] = {}
    if limits.ram_bytes is not None:
        wanted["memory"] = _memory(hierarchies["memory"].version, limits.ram_bytes)
    if limits.read_bytes_per_s is not None or limits.reads_per_s is not None:
        wanted["io"] = _reads(hierarchies["io"].version, limits, disks)
    if limits.cpus is not None:
        wanted["cpu"] = _cpu(hierarchies["cpu"].version, round(limits.cpus * _PERIOD_US))
    return wanted


def _memory(version: int, ram_bytes: int) -> list[tuple[str, str]]:
    """Page cache counts too, and the device has no swap, whatever the machine has."""
    if version == 1:
        return [("memory.swappiness", "0"), ("memory.limit_in_bytes", str(ram_bytes))]
    return [("memory.swap.max", "0"), ("memory.max", str(ram_bytes))]


def _reads(version: int, limits: Limits, disks: Sequence[str]) -> list[tuple[str, str]]:
    """A request of the file system counts as one read, whatever its size."""
    names = ("rbps", "riops") if version == 2 else ("read_bps_device", "read_iops_device")
    values = (limits.read_bytes_per_s, limits.reads_per_s)
    given = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    if version == 1:
        return [(f"blkio.throttle.{name}", f"{disk} {value}") for disk in disks for name, value in given]
    return [("io.max", " ".join([disk, *(f"{name}={value}" for name, value in given)])) for disk in disks]


def _cpu(version: int, quota_us: int) -> list[tuple[str, str]]:
    if version == 1:
        return [("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(quota_us))]
    return [("cpu.max", f"{quota_us} {_PERIOD_US}")]
