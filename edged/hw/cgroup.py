"""Where this process's cgroups lie: version 1, version 2, both at once, and seen from within containers."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from edged.hw import text
from edged.hw.mounts import Mount, parse_mountinfo

_UNIFIED = ""  # the name that /proc/self/cgroup gives to version 2


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of one controller that apply to this process: its own cgroup first, then its ancestors."""

    version: int
    folders: tuple[Path, ...]


def hierarchy(controller: str, proc: Path = Path("/proc")) -> Hierarchy | None:
    """The folders of a controller such as `memory` or `cpu`; None without cgroups or without their mount.

    A controller belongs to version 1 or to version 2, never to both; on a hybrid machine
    /proc/self/cgroup names it in a line of version 1 and the empty version 2 says nothing about it.
    """
    own = parse_own(text.read(proc / "self" / "cgroup") or "")
    mounts = parse_mountinfo(text.read(proc / "self" / "mountinfo") or "")
    if controller in own:
        mount = next((m for m in mounts if m.fs_type == "cgroup" and controller in m.options), None)
        if mount is not None:
            return Hierarchy(version=1, folders=folders_of(mount, own[controller]))
    mount = next((m for m in mounts if m.fs_type == "cgroup2"), None)
    if _UNIFIED in own and mount is not None:
        return Hierarchy(version=2, folders=folders_of(mount, own[_UNIFIED]))
    return None


def parse_own(content: str) -> dict[str, str]:
    """Parse /proc/self/cgroup: the path by controller, version 2 under the empty name. Never raises."""
    own: dict[str, str] = {}
    for line in content.splitlines():
        fields = line.split(":", 2)  # a path may hold colons
        if len(fields) == 3 and fields[2].startswith("/"):
            for controller in fields[1].split(","):
                own.setdefault(controller, fields[2])
    return own


def folders_of(mount: Mount, path: str) -> tuple[Path, ...]:
    """The folders from a cgroup's own up to the mount point, beyond which nothing can be seen.

    A container may mount only its own part of the hierarchy, or see its path relative to a namespace
    that it left (`/..`): where the path does not lie below what is mounted, the mount point is all there is.
    """
    top = Path(mount.point)
    parts = _parts_below(mount.root, path)
    return tuple(top.joinpath(*parts[:count]) for count in range(len(parts), -1, -1))


def _parts_below(root: str, path: str) -> Sequence[str]:
    pure = PurePosixPath(path)
    if ".." in pure.parts or "\0" in path or not pure.is_relative_to(root):
        return ()
    return pure.relative_to(root).parts
