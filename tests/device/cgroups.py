"""Control groups of one's own: made, filled, emptied and removed, under cgroup v1 or v2.

Controllers have v2's names here (`memory`, `io`, `cpu`); v1 calls `io` `blkio`.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PREFIX = "edged-device"  # edged-device-PID-NUMBER
_V1_NAMES = {"memory": "memory", "blkio": "io", "cpu": "cpu"}
_EMPTYING_TIMEOUT_S = 10.0


class CannotEmulate(Exception):
    """This machine does not let the test make such a device; the message says why."""


class Hierarchy(NamedTuple):
    """Where a controller is mounted."""

    version: int
    root: Path


def find_hierarchies(mounts_text: str) -> dict[str, Hierarchy]:
    """Controller -> hierarchy, from the text of /proc/self/mounts. A controller is in one version only."""
    found: dict[str, Hierarchy] = {}
    for line in mounts_text.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        root = Path(fields[1])
        if fields[2] == "cgroup":
            for option in fields[3].split(","):
                if option in _V1_NAMES:
                    found.setdefault(_V1_NAMES[option], Hierarchy(1, root))
        elif fields[2] == "cgroup2" and (root / "cgroup.controllers").exists():
            for controller in (root / "cgroup.controllers").read_text().split():
                found.setdefault(controller, Hierarchy(2, root))
    return found


class Group:
    """The same group name in every hierarchy that `settings` needs.

    `settings` maps a controller to its (file, text) pairs, as `limits.settings` makes them.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Sequence[tuple[str, str]]],
        hierarchies: Mapping[str, Hierarchy],
    ) -> None:
        self._settings = settings
        self._hierarchies = {controller: hierarchies[controller] for controller in settings}
        self.folders = tuple(dict.fromkeys(hierarchy.root / name for hierarchy in self._hierarchies.values()))

    def create(self) -> None:
        """Make the folders and write the settings. Raises CannotEmulate, after which nothing is left."""
        try:
            for controller, hierarchy in self._hierarchies.items():
                if hierarchy.version == 2:
                    _write(hierarchy.root / "cgroup.subtree_control", f"+{controller}")
            for folder in self.folders:
                folder.mkdir()
            for controller, pairs in self._settings.items():
                folder = self._folder(controller)
                for file, text in pairs:
                    _write(folder / file, text)
        except OSError as error:
            self.remove()
            raise CannotEmulate(str(error)) from error

    def _folder(self, controller: str) -> Path:
        root = self._hierarchies[controller].root
        return next(folder for folder in self.folders if folder.parent == root)

    def remove(self) -> None:
        """Kill whatever is in the group and remove it."""
        remove_folders(self.folders)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:  # write(2) does not say which file
        raise OSError(f"{path} does not take {text!r}: {error.strerror}") from error


def remove_stale(hierarchies: Iterable[Hierarchy]) -> None:
    """Remove the groups that killed test runs left behind: those whose maker is dead."""
    for root in {hierarchy.root for hierarchy in hierarchies}:
        for folder in root.glob(f"{PREFIX}-*"):
            maker = folder.name.removeprefix(f"{PREFIX}-").partition("-")[0]
            if maker.isdigit() and not Path("/proc", maker).exists():
                remove_folders([folder])


def remove_folders(folders: Iterable[Path]) -> None:
    """Kill what is in these groups and remove them. Raises TimeoutError when they do not empty."""
    deadline = time.monotonic() + _EMPTYING_TIMEOUT_S
    for folder in folders:
        while folder.exists():
            _kill_all(folder, deadline)
            with suppress(OSError):  # busy: a process is still leaving, or one was forked in between
                folder.rmdir()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{folder} does not become empty")


def _kill_all(folder: Path, deadline: float) -> None:
    """SIGKILL every process in a group, and wait until those have ended."""
    try:
        pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(pidfd)
