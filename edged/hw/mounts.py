"""The mount table, from /proc/self/mountinfo (format: proc(5))."""

import re
from collections.abc import Iterable
from pathlib import PurePath

import msgspec

_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")  # space, tab, newline and backslash come as octal


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `root` is the part of the filesystem that is mounted at `point`."""

    device: str  # "MAJ:MIN"; major 0 where no block device stands behind it
    root: str
    point: str
    fs_type: str
    source: str
    options: tuple[str, ...] = ()  # of the filesystem, such as cgroup controllers or overlay layers


def parse_mountinfo(content: str) -> tuple[Mount, ...]:
    """All mounts, in order. Never raises: lines that are no mounts are left out."""
    return tuple(mount for line in content.split("\n") if (mount := _parse_line(line)) is not None)


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that shows an absolute path: the longest mount point above it, of equal ones the last."""
    wanted = PurePath(path)
    best: Mount | None = None
    for mount in mounts:
        if wanted.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _parse_line(line: str) -> Mount | None:
    # "36 35 98:0 /root /point options [optional fields…] - type source super-options"
    before, dash, after = line.partition(" - ")
    head, tail = before.split(), after.split(" ")
    if not dash or len(head) < 6 or len(tail) < 2 or not head[4].startswith("/"):
        return None
    return Mount(
        device=head[2],
        root=_unescape(head[3]),
        point=_unescape(head[4]),
        fs_type=tail[0],
        source=_unescape(tail[1]),
        options=tuple(_unescape(option) for option in tail[2].split(",")) if len(tail) > 2 else (),
    )


def _unescape(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
