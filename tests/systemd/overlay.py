"""The container's root: this machine's files with a layer on top that takes every change.

The layer is written before it is mounted: a new machine's identity, nothing enabled, and no edged.
"""

import os
import shutil
import stat
import uuid
from pathlib import Path

BASE = Path("/")
# What edged's own installation may have left on this machine: the container begins without it.
_HIDDEN = (
    "etc/edged",
    "opt/edged",
    "usr/local/bin/edged",
    "var/lib/edged",
    "var/lib/private/edged",
)
# Units that would touch this machine's kernel, devices or clock, or that wait for a terminal.
_MASKED = (
    "systemd-udevd.service",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "kmod-static-nodes.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-firstboot.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-journald-audit.socket",
    "getty.target",
    "getty-static.service",
    "console-getty.service",
)


class Overlay:
    """An overlay's folders below `folder`, which must lie on a disk and not in an overlay."""

    def __init__(self, folder: Path) -> None:
        self.upper = folder / "upper"
        self.root = folder / "root"
        self._work = folder / "work"
        for each in (self.upper, self.root, self._work):
            each.mkdir()

    @property
    def options(self) -> str:
        """For mount(8)."""
        return f"lowerdir={BASE},upperdir={self.upper},workdir={self._work}"

    def prepare(self, hostname: str) -> None:
        """Make it a machine of its own, on which nothing of this one's services starts."""
        units = self._folder("etc/systemd/system")
        os.setxattr(units, "trusted.overlay.opaque", b"y")  # what this machine has enabled is not there
        for unit in _MASKED:
            (units / unit).symlink_to("/dev/null")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        self._folder("var/log/journal")  # the journal is kept over a reboot
        (self.upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (self.upper / "etc/hostname").write_text(f"{hostname}\n")
        for path in _HIDDEN:
            if os.path.lexists(BASE / path):
                self._folder(str(Path(path).parent))
                os.mknod(self.upper / path, stat.S_IFCHR, os.makedev(0, 0))  # overlayfs: deleted

    def _folder(self, path: str) -> Path:
        """A folder of the layer; mode and owner are the base's, which it would otherwise change."""
        folder = self.upper
        for part in Path(path).parts:
            folder /= part
            below = BASE / folder.relative_to(self.upper)
            if not folder.exists():
                folder.mkdir()
                if below.is_dir():
                    shutil.copystat(below, folder)
                    os.chown(folder, below.stat().st_uid, below.stat().st_gid)
        return folder

    def changes(self) -> dict[str, str]:
        """Path -> what it is now, for everything in which the container differs from its base."""
        found = {}
        for folder, folders, files in os.walk(self.upper):
            for name in (*folders, *files):
                path = Path(folder, name)
                inside = path.relative_to(self.upper)
                what = _what(path, (BASE / inside).is_dir())
                if what is not None:
                    found[str(inside)] = what
        return found


def _what(path: Path, is_folder_below: bool) -> str | None:
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        return None if is_folder_below else "folder"
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "deleted"
    return f"{stat.filemode(status.st_mode)} {status.st_size} bytes, written at {status.st_mtime_ns} ns"
