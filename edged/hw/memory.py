"""Memory facts: RAM, the tightest cgroup limit, swap, zram and memory pressure. All sizes in bytes."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edged.hw import text
from edged.hw.cgroup import Hierarchy, hierarchy
from edged.hw.pressure import pressure
from edged.hw.snapshot import MemoryFacts

# Version 1 says "no limit" as LONG_MAX rounded down to a page, whatever the page size.
_NO_LIMIT_FROM_BYTES = 1 << 60


class MemoryLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One cgroup's limit and what cannot be reclaimed of its use."""

    limit_bytes: int
    used_bytes: int | None

    @property
    def room_bytes(self) -> int:
        """What the limit leaves."""
        return self.limit_bytes - (self.used_bytes or 0)


def memory_facts(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> MemoryFacts:
    """The memory facts of this machine and this process's cgroup. Never raises: unknown is None."""
    meminfo = parse_meminfo(text.read(proc / "meminfo") or "")
    cgroup = hierarchy("memory", proc)
    limit = tightest_limit(cgroup) if cgroup else None
    stalled = pressure("memory", proc)
    return MemoryFacts(
        total_bytes=meminfo.get("MemTotal"),
        available_bytes=meminfo.get("MemAvailable"),
        cgroup_version=cgroup.version if cgroup else None,
        cgroup_limit_bytes=limit.limit_bytes if limit else None,
        cgroup_used_bytes=limit.used_bytes if limit else None,
        swap_total_bytes=meminfo.get("SwapTotal"),
        swap_free_bytes=meminfo.get("SwapFree"),
        zram_bytes=zram_bytes(sys),
        psi_some_avg10=stalled.some_avg10,
        psi_full_avg10=stalled.full_avg10,
    )


def held_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """The memory that would be available again without these processes: anonymous and locked pages."""
    held = 0
    for pid in pids:
        status = parse_meminfo(text.read(proc / str(pid) / "status") or "")
        held += status.get("RssAnon", 0) + status.get("VmLck", 0)
    return held


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """A process's pages in memory; of those that it shares with others, its part (PSS). None: unknown."""
    return parse_meminfo(text.read(proc / str(pid) / "smaps_rollup") or "").get("Pss")


def oom_kills(proc: Path = Path("/proc")) -> int | None:
    """How many processes the kernel has ended for their memory since boot; None where it does not say."""
    for line in (text.read(proc / "vmstat") or "").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return text.integer(count)
    return None


def without(facts: MemoryFacts, held_bytes: int) -> MemoryFacts:
    """The facts as they would be if nobody held so many bytes."""
    available, used = facts.available_bytes, facts.cgroup_used_bytes
    return msgspec.structs.replace(
        facts,
        available_bytes=None if available is None else available + held_bytes,
        cgroup_used_bytes=None if used is None else max(0, used - held_bytes),
    )


def parse_meminfo(content: str) -> dict[str, int]:
    """Parse /proc/meminfo: bytes by name, for the lines counted in kB. Never raises."""
    found: dict[str, int] = {}
    for line in content.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        number = text.integer(words[0]) if len(words) == 2 and words[1] == "kB" else None
        if number is not None and number < _NO_LIMIT_FROM_BYTES >> 10:
            found.setdefault(name.strip(), number << 10)
    return found


def tightest_limit(cgroup: Hierarchy) -> MemoryLimit | None:
    """The limit of the cgroup or ancestor that leaves the least room now; None when none is set.

    Least room, not least limit: a larger limit that siblings have nearly used up is the one that kills.
    """
    read_limit = _limit_v1 if cgroup.version == 1 else _limit_v2
    limits = [limit for folder in cgroup.folders if (limit := read_limit(folder)) is not None]
    return min(limits, key=lambda limit: limit.room_bytes, default=None)


def zram_bytes(sys: Path = Path("/sys")) -> int | None:
    """The size of all compressed RAM disks; None when the block devices cannot be listed."""
    try:
        disks = list((sys / "block").iterdir())
    except OSError:
        return None
    sizes = [text.read_integer(disk / "disksize") for disk in disks if disk.name.startswith("zram")]
    return sum(size for size in sizes if size is not None)


def _limit_v1(folder: Path) -> MemoryLimit | None:
    stat = _parse_stat(text.read(folder / "memory.stat") or "")
    # The hierarchical limit also covers ancestors that a namespace hides.
    limits = (text.read_integer(folder / "memory.limit_in_bytes"), stat.get("hierarchical_memory_limit"))
    limit = _least(limits)
    if limit is None:
        return None
    usage = text.read_integer(folder / "memory.usage_in_bytes")
    cache = stat.get("total_inactive_file", 0) + stat.get("total_active_file", 0)
    return MemoryLimit(limit_bytes=limit, used_bytes=_used(usage, cache))


def _limit_v2(folder: Path) -> MemoryLimit | None:
    # Over `high` the kernel reclaims and slows the process down: planning has to stay below it as well.
    limit = _least((text.read_integer(folder / "memory.max"), text.read_integer(folder / "memory.high")))
    if limit is None:
        return None
    stat = _parse_stat(text.read(folder / "memory.stat") or "")
    usage = text.read_integer(folder / "memory.current")
    cache = stat.get("inactive_file", 0) + stat.get("active_file", 0)
    return MemoryLimit(limit_bytes=limit, used_bytes=_used(usage, cache))


def _used(usage_bytes: int | None, page_cache_bytes: int) -> int | None:
    """Use without the page cache, which the kernel gives back before it kills anything."""
    return None if usage_bytes is None else max(0, usage_bytes - page_cache_bytes)


def _least(limits: tuple[int | None, ...]) -> int | None:
    return min(
        (limit for limit in limits if limit is not None and limit < _NO_LIMIT_FROM_BYTES), default=None
    )


def _parse_stat(content: str) -> dict[str, int]:
    """Parse memory.stat: one name and one number a line."""
    found: dict[str, int] = {}
    for line in content.splitlines():
        name, _, value = line.partition(" ")
        number = text.integer(value)
        if number is not None:
            found[name] = number
    return found
