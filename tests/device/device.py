"""A small device, emulated: processes with limited memory, storage speed and CPU. Needs root."""

import itertools
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.device import page_cache
from tests.device.cgroups import PREFIX, CannotEmulate, Group, find_hierarchies, remove_stale
from tests.device.limits import Limits, settings

_numbers = itertools.count()
# The process joins the groups before it becomes the command; its children inherit them.
_JOIN_AND_EXEC = """
set -e
n=$1
shift
while [ "$n" -gt 0 ]; do
  echo $$ >"$1/cgroup.procs"
  shift
  n=$((n - 1))
done
exec "$@"
"""


class Device:
    """A context in which `run` starts processes on the small device.

    When it ends, whatever still runs there is killed and the limits are gone. Groups that a killed run left
    behind are removed when the next device is made. Raises CannotEmulate (see `why_not`).
    """

    def __init__(self, limits: Limits) -> None:
        if os.geteuid() != 0:
            raise CannotEmulate("control groups can be made by root only")
        hierarchies = find_hierarchies(Path("/proc/self/mounts").read_text())
        missing = {"memory", "io", "cpu"} - hierarchies.keys()
        if missing:
            raise CannotEmulate(f"no cgroup controller for: {', '.join(sorted(missing))}")
        remove_stale(hierarchies.values())
        wanted = settings(limits, hierarchies, whole_disks())
        self._group = Group(f"{PREFIX}-{os.getpid()}-{next(_numbers)}", wanted, hierarchies)

    def __enter__(self) -> "Device":
        self._group.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.remove()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The device's control groups."""
        return self._group.folders

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> "subprocess.Popen[str]":
        """Start a command on the device."""
        folders = [str(folder) for folder in self._group.folders]
        return subprocess.Popen(
            ["/bin/sh", "-c", _JOIN_AND_EXEC, "sh", str(len(folders)), *folders, *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def cold(self, path: Path) -> None:
        """Put a file out of the page cache. Raises StillCached."""
        page_cache.cold(path)


def whole_disks() -> list[str]:
    """MAJOR:MINOR of every disk that reads can be limited on: no loop devices, RAM disks or zram."""
    names = [
        path
        for path in sorted(Path("/sys/block").glob("*"))
        if not path.name.startswith(("loop", "ram", "zram"))
    ]
    return [(path / "dev").read_text().strip() for path in names]


def why_not(limits: Limits) -> str | None:
    """Why such a device cannot be emulated on this machine, or None when it can."""
    try:
        with Device(limits):
            return None
    except CannotEmulate as error:
        return f"cannot emulate a device here: {error}"
