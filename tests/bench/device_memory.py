"""What became of memory on an emulated device: who was killed for want of it, and what was swapped out.

Sources: Linux's admin-guide/cgroup-v2.rst (memory.events, memory.swap.current) and
admin-guide/cgroup-v1/memory.rst (memory.oom_control, memory.stat).
"""

from collections.abc import Iterable
from pathlib import Path


def kills(folders: Iterable[Path]) -> int:
    """Processes that the kernel has killed in these control groups since they were made."""
    return _sum_of(folders, ("memory.events", "memory.oom_control"), "oom_kill")


def swapped_bytes(folders: Iterable[Path]) -> int:
    """What these control groups have in swap now; 0 where the machine has none."""
    folders = tuple(folders)
    current = sum(_number(folder / "memory.swap.current") for folder in folders)
    return current + _sum_of(folders, ("memory.stat",), "swap")


def _sum_of(folders: Iterable[Path], names: Iterable[str], key: str) -> int:
    return sum(_keyed(folder / name).get(key, 0) for folder in folders for name in names)


def _keyed(path: Path) -> dict[str, int]:
    """Lines of `key number`; nothing where there is no such file, since versions and controllers differ."""
    if not path.exists():
        return {}
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _number(path: Path) -> int:
    return int(path.read_text()) if path.exists() else 0
