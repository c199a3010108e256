"""Which block device, network mount or RAM disk holds a path, and of what kind it is."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from edged.hw import text
from edged.hw.mounts import Mount, mount_of

_MEMORY_TYPES = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NETWORK_TYPES = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "ceph",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.glusterfs",
        "fuse.s3fs",
        "afs",
    }
)
_SHARED_BY_HOST_TYPES = frozenset({"virtiofs", "9p", "vboxsf", "fuse.vmhgfs-fuse"})
_VIRTUAL_NAMES = ("vd", "xvd")
_VIRTUAL_MAKERS = ("QEMU", "VMware", "VBOX", "Msft")
_DEEPEST_STACK = 8  # overlay on loop on dm on a disk is 4


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What holds a path. Two paths with the same `key` share their reading speed."""

    key: str
    name: str | None = None  # such as mmcblk0, or server:/export
    kind: str = "unknown"
    readahead_bytes: int | None = None
    request_bytes: int | None = None  # the most that one read of a file fetches at once
    number: str | None = None  # MAJ:MIN of a whole disk
    is_rotational: bool = False  # also when only the kernel says so, as it does of most virtual disks


def device_of(path: Path, mounts: Sequence[Mount], sys: Path = Path("/sys")) -> Device:
    """The device behind an existing path. Raises OSError when the path cannot be looked at."""
    status = path.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    return _resolve(number, path, mounts, sys, 0)


def block_device(number: str, sys: Path = Path("/sys")) -> Device | None:
    """The disk of a "MAJ:MIN", through partitions, device mapper and RAID; None when sysfs knows none."""
    folder = _disk_folder(sys / "dev" / "block" / number)
    if folder is None:
        return None
    readahead_kib = text.read_integer(folder / "queue" / "read_ahead_kb")
    request_kib = text.read_integer(folder / "queue" / "max_sectors_kb")
    sizes = [kib << 10 for kib in (readahead_kib, request_kib) if kib is not None]
    return Device(
        key=folder.name,
        name=folder.name,
        kind=disk_kind(folder),
        readahead_bytes=None if readahead_kib is None else readahead_kib << 10,
        request_bytes=max(sizes, default=None),
        number=text.read(folder / "dev"),
        is_rotational=text.read(folder / "queue" / "rotational") == "1",
    )


def disk_kind(folder: Path) -> str:
    """The kind of a disk by its real folder in sysfs, in the words of StorageFacts."""
    name, place = folder.name, str(folder)
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        return {"MMC": "emmc", "SD": "sd"}.get(text.read(folder / "device" / "type") or "", "unknown")
    if name.startswith(("zram", "ram")):
        return "memory"
    if name.startswith(("nbd", "rbd")):
        return "network"
    made = [text.read(folder / "device" / attribute) or "" for attribute in ("vendor", "model")]
    if name.startswith(_VIRTUAL_NAMES) or "/virtio" in place or made[0].startswith(_VIRTUAL_MAKERS):
        return "virtual"
    if made[1].startswith(_VIRTUAL_MAKERS):  # an emulated SATA disk: its vendor is always "ATA"
        return "virtual"
    if "/usb" in place:
        return "usb"
    if name.startswith("sd"):
        return {"0": "ssd", "1": "hdd"}.get(text.read(folder / "queue" / "rotational") or "", "unknown")
    return "unknown"


def layers(overlay: Mount) -> Iterator[str]:
    """The folders of an overlay, the upper one first."""
    for key in ("upperdir", "lowerdir+", "lowerdir"):
        for option in overlay.options:
            name, _, value = option.partition("=")
            if name == key:
                yield from (layer for layer in value.split(":") if layer)


def _resolve(number: str, path: Path, mounts: Sequence[Mount], sys: Path, depth: int) -> Device:
    unknown = Device(key=number)
    if depth > _DEEPEST_STACK:
        return unknown
    if not number.startswith("0:"):
        disk = block_device(number, sys)
        if disk is None or not disk.key.startswith("loop"):
            return disk or unknown
        backing = text.read(sys / "block" / disk.key / "loop" / "backing_file")
        return _resolve_at(Path(backing), mounts, sys, depth + 1) or disk if backing else disk
    mount = mount_of(str(path.resolve()), mounts)
    return unknown if mount is None else _resolve_mount(mount, number, path, mounts, sys, depth)


def _resolve_mount(
    mount: Mount, number: str, path: Path, mounts: Sequence[Mount], sys: Path, depth: int
) -> Device:
    """The device of a filesystem that has no block device number of its own."""
    readahead_kib = text.read_integer(sys / "class" / "bdi" / number / "read_ahead_kb")
    readahead = None if readahead_kib is None else readahead_kib << 10
    for types, kind in (
        (_MEMORY_TYPES, "memory"),
        (_NETWORK_TYPES, "network"),
        (_SHARED_BY_HOST_TYPES, "virtual"),
    ):
        if mount.fs_type in types:
            return Device(key=number, name=mount.source, kind=kind, readahead_bytes=readahead)
    if mount.fs_type == "overlay":
        below = path.resolve().relative_to(mount.point)
        for layer in layers(mount):
            device = _resolve_at(Path(layer) / below, mounts, sys, depth + 1)
            if device is not None:
                return device
    if mount.source.startswith("/dev/"):  # btrfs and others that number their own volumes
        try:
            source = Path(mount.source).stat().st_rdev
        except OSError:
            return Device(key=number, name=mount.source)
        return _resolve(f"{os.major(source)}:{os.minor(source)}", path, mounts, sys, depth + 1)
    return Device(key=number, readahead_bytes=readahead)


def _resolve_at(path: Path, mounts: Sequence[Mount], sys: Path, depth: int) -> Device | None:
    """The device of a path out of a kernel file; None when it cannot be seen from here."""
    try:
        number = path.stat().st_dev
    except (OSError, ValueError):  # ValueError: a NUL byte
        return None
    return _resolve(f"{os.major(number)}:{os.minor(number)}", path, mounts, sys, depth)


def _disk_folder(link: Path) -> Path | None:
    """The real folder of the disk under a partition or a stack of virtual devices (of several, the first)."""
    folder = link.resolve()
    for _ in range(_DEEPEST_STACK):
        if (folder / "partition").exists():
            folder = folder.parent
        below = sorted((folder / "slaves").glob("*"))
        if not below:
            break
        folder = below[0].resolve()
    return folder if (folder / "queue").exists() else None
