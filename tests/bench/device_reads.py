"""What an emulated device has read from storage.

Sources: Linux's admin-guide/cgroup-v2.rst (io.stat) and admin-guide/cgroup-v1/blkio-controller.rst
(blkio.throttle.io_service_bytes).
"""

from collections.abc import Iterable
from pathlib import Path


def read_bytes(folders: Iterable[Path]) -> int:
    """Bytes that these control groups have read since they were made."""
    return sum(_of(folder) for folder in folders)


def _of(folder: Path) -> int:
    v1, v2 = folder / "blkio.throttle.io_service_bytes", folder / "io.stat"
    if v1.exists():
        lines = [line.split() for line in v1.read_text().splitlines()]
        return sum(int(line[2]) for line in lines if len(line) == 3 and line[1] == "Read")
    if v2.exists():
        words = v2.read_text().split()
        return sum(int(word.removeprefix("rbytes=")) for word in words if word.startswith("rbytes="))
    return 0
