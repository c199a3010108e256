"""The control groups of a container: one in every hierarchy that systemd keeps track of processes in."""

import os
from collections.abc import Iterable
from pathlib import Path

from tests.device.cgroups import remove_folders

PREFIX = "edged-systemd"  # edged-systemd-PID-NUMBER


def hierarchies(mounts_text: str) -> tuple[Path, ...]:
    """Where cgroup v2 is mounted and v1's hierarchy named systemd, from the text of /proc/self/mounts."""
    found = []
    for line in mounts_text.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        if fields[2] == "cgroup2" or (fields[2] == "cgroup" and "name=systemd" in fields[3].split(",")):
            found.append(Path(fields[1]))
    return tuple(found)


def has_v2(mounts_text: str) -> bool:
    """Whether cgroup v2 is mounted at all: systemd inside is given nothing else."""
    return any(line.split()[2:3] == ["cgroup2"] for line in mounts_text.splitlines())


def remove(folders: Iterable[Path]) -> None:
    """Kill what is in these groups and below them, and remove them. Raises TimeoutError."""
    for folder in folders:
        if folder.exists():
            remove_folders(Path(each) for each, _, _ in os.walk(folder, topdown=False))


def remove_stale(roots: Iterable[Path]) -> None:
    """Remove what killed test runs left behind: the groups whose maker is dead."""
    for root in roots:
        remove(folder for folder in root.glob(f"{PREFIX}-*") if not maker_lives(folder))


def maker_lives(folder: Path) -> bool:
    """Whether the test run that made a folder of this name still runs."""
    return Path("/proc", folder.name.removeprefix(f"{PREFIX}-").partition("-")[0]).exists()
