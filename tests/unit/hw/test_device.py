import os
from pathlib import Path

import pytest

from edged.hw.device import block_device, device_of, layers
from edged.hw.mounts import Mount, parse_mountinfo
from tests.unit.hw.captured import MOUNTINFO_DOCKER

PI_SD = "devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"
JETSON_EMMC = "devices/platform/3460000.sdhci/mmc_host/mmc1/mmc1:0001/block/mmcblk1"
NUC_NVME = "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/nvme0n1"
SATA = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
USB = "devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host1/target1:0:0/1:0:0:0/block/sdb"
VIRTIO = "devices/pci0000:00/0000:00:02.0/virtio1/block/vda"


def fake_disk(sys: Path, place: str, number: str, **attributes: str) -> Path:
    """A disk in a /sys tree; attributes are files, with __ for a slash."""
    folder = sys / place
    (folder / "queue").mkdir(parents=True)
    for name, value in attributes.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    link(sys, number, folder)
    return folder


def link(sys: Path, number: str, folder: Path) -> None:
    """The entry of a device number under /sys/dev/block."""
    (sys / "dev" / "block").mkdir(parents=True, exist_ok=True)
    (sys / "dev" / "block" / number).symlink_to(folder)


@pytest.mark.parametrize(
    ("place", "attributes", "name", "kind"),
    [
        (PI_SD, {"device__type": "SD"}, "mmcblk0", "sd"),
        (JETSON_EMMC, {"device__type": "MMC"}, "mmcblk1", "emmc"),
        (JETSON_EMMC, {}, "mmcblk1", "unknown"),
        (NUC_NVME, {"queue__rotational": "0"}, "nvme0n1", "nvme"),
        (SATA, {"queue__rotational": "0", "device__vendor": "ATA"}, "sda", "ssd"),
        (SATA, {"queue__rotational": "1", "device__vendor": "ATA"}, "sda", "hdd"),
        (SATA, {"queue__rotational": "1", "device__model": "QEMU HARDDISK"}, "sda", "virtual"),
        (SATA, {"queue__rotational": "0", "device__vendor": "VMware"}, "sda", "virtual"),
        (SATA, {}, "sda", "unknown"),
        (USB, {"queue__rotational": "1"}, "sdb", "usb"),
        (VIRTIO, {"queue__rotational": "1"}, "vda", "virtual"),
        ("devices/virtual/block/zram1", {"disksize": "1"}, "zram1", "memory"),
        ("devices/virtual/block/nbd0", {}, "nbd0", "network"),
    ],
)
def test_kinds(tmp_path: Path, place: str, attributes: dict[str, str], name: str, kind: str) -> None:
    fake_disk(tmp_path, place, "8:0", **attributes)

    device = block_device("8:0", tmp_path)

    assert device is not None
    assert (device.name, device.kind) == (name, kind)


def test_a_partition_is_its_disk(tmp_path: Path) -> None:
    disk = fake_disk(
        tmp_path, PI_SD, "179:0", device__type="SD", queue__read_ahead_kb="128", queue__max_sectors_kb="512"
    )
    (disk / "mmcblk0p2").mkdir()
    (disk / "mmcblk0p2" / "partition").write_text("2\n")
    link(tmp_path, "179:2", disk / "mmcblk0p2")

    assert block_device("179:2", tmp_path) == block_device("179:0", tmp_path)
    device = block_device("179:2", tmp_path)
    assert device is not None
    assert (device.readahead_bytes, device.request_bytes) == (128 << 10, 512 << 10)


def test_an_encrypted_volume_is_the_disk_below_it(tmp_path: Path) -> None:
    disk = fake_disk(tmp_path, NUC_NVME, "259:0")
    (disk / "nvme0n1p3").mkdir()
    (disk / "nvme0n1p3" / "partition").write_text("3\n")
    mapped = fake_disk(tmp_path, "devices/virtual/block/dm-0", "254:0")
    (mapped / "slaves").mkdir()
    (mapped / "slaves" / "nvme0n1p3").symlink_to(disk / "nvme0n1p3")

    device = block_device("254:0", tmp_path)

    assert device is not None
    assert (device.key, device.kind) == ("nvme0n1", "nvme")


def test_a_number_that_sysfs_does_not_know(tmp_path: Path) -> None:
    assert block_device("8:0", tmp_path) is None


def mounted_at(path: Path, fs_type: str, source: str, *options: str) -> tuple[Mount, ...]:
    return (
        Mount(
            device="0:99", root="/", point=str(path), fs_type=fs_type, source=source, options=tuple(options)
        ),
    )


@pytest.fixture
def anonymous(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose filesystem has no block device number."""
    monkeypatch.setattr(os, "major", lambda number: 0 if number == tmp_path.stat().st_dev else number >> 8)
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("fs_type", "source", "kind"),
    [
        ("tmpfs", "tmpfs", "memory"),
        ("nfs4", "nas:/export", "network"),
        ("cifs", "//nas/models", "network"),
        ("fuse.sshfs", "me@nas:", "network"),
        ("virtiofs", "share", "virtual"),
        ("zfs", "tank/models", "unknown"),
        ("btrfs", "/dev/does-not-exist", "unknown"),
    ],
)
def test_filesystems_without_a_block_device(
    anonymous: Path, tmp_path: Path, fs_type: str, source: str, kind: str
) -> None:
    device = device_of(anonymous, mounted_at(anonymous, fs_type, source), tmp_path)

    assert device.kind == kind


def test_without_a_mount_table_it_is_unknown(anonymous: Path, tmp_path: Path) -> None:
    assert device_of(anonymous, (), tmp_path).kind == "unknown"


def test_layers_of_an_overlay() -> None:
    overlay = parse_mountinfo(MOUNTINFO_DOCKER)[0]

    assert list(layers(overlay)) == ["/u/diff", "/l/A", "/l/B"]


def test_layers_as_newer_kernels_list_them() -> None:
    overlay = mounted_at(Path("/"), "overlay", "overlay", "lowerdir+=/l/A", "lowerdir+=/l/B")[0]

    assert list(layers(overlay)) == ["/l/A", "/l/B"]


def test_an_overlay_whose_layers_cannot_be_seen_is_unknown(anonymous: Path, tmp_path: Path) -> None:
    mounts = mounted_at(anonymous, "overlay", "overlay", "lowerdir=/not/visible/here")

    assert device_of(anonymous, mounts, tmp_path).kind == "unknown"


def test_an_overlay_of_itself_ends(anonymous: Path, tmp_path: Path) -> None:
    mounts = mounted_at(anonymous, "overlay", "overlay", f"lowerdir={anonymous}")

    assert device_of(anonymous, mounts, tmp_path).kind == "unknown"


def test_an_overlay_is_what_holds_the_layer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, disk_folder: Path
) -> None:
    """The layer lies on a disk with a number of its own; the merged folder has none."""
    number = disk_folder.stat().st_dev
    (tmp_path / "model.gguf").touch()
    (disk_folder / "model.gguf").touch()
    answers = iter([0, 8])  # the merged file, then the layer's
    monkeypatch.setattr(os, "major", lambda _: next(answers))
    fake_disk(tmp_path, SATA, f"8:{os.minor(number)}", queue__rotational="0")
    mounts = mounted_at(tmp_path, "overlay", "overlay", f"lowerdir=/none:{disk_folder}")

    assert device_of(tmp_path / "model.gguf", mounts, tmp_path).kind == "ssd"


def test_a_loop_device_is_what_holds_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    minor = os.minor(tmp_path.stat().st_dev)
    image = tmp_path / "image"
    image.touch()
    loop = fake_disk(tmp_path, "devices/virtual/block/loop0", f"7:{minor}", loop__backing_file=str(image))
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "loop0").symlink_to(loop)
    fake_disk(tmp_path, SATA, f"8:{minor}", queue__rotational="0")
    answers = iter([7, 8])  # the path on the loop device, then the image
    monkeypatch.setattr(os, "major", lambda _: next(answers))

    assert device_of(tmp_path, (), tmp_path).kind == "ssd"


def test_a_missing_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        device_of(tmp_path / "missing", ())


def test_this_machine_knows_the_kind_of_its_shared_memory() -> None:
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())

    assert device_of(Path("/dev/shm"), mounts).kind == "memory"
