import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.hw.device import device_of
from edged.hw.mounts import parse_mountinfo


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """A folder on a real disk: /tmp is often a RAM disk, of which nothing can be evicted."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="edged-test-") as name:
        device = device_of(Path(name), parse_mountinfo(Path("/proc/self/mountinfo").read_text()))
        if device.kind == "memory":
            pytest.skip("/var/tmp is a RAM disk here: nothing on it can be uncached")
        yield Path(name)


@pytest.fixture
def cold_file(disk_folder: Path) -> Callable[[str, int], Path]:
    """Makes files of random bytes that are on the disk and not in the page cache."""

    def make(name: str, size_bytes: int) -> Path:
        path = disk_folder / name
        path.write_bytes(os.urandom(size_bytes))
        evict(path)
        return path

    return make


def evict(path: Path) -> None:
    """Write a file out and drop it from the page cache."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)
