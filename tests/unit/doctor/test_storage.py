"""What storage costs a cold start."""

import pytest

from edged.doctor.facts import OtherDisk
from edged.doctor.storage import (
    filesystem,
    free_space,
    good_window_bytes,
    network_storage,
    rate_unknown,
    readahead,
    slower_disk,
)
from edged.hw.mounts import Mount
from tests.unit.doctor.invented import SIZE_BYTES, installed, storage

MODELS = (installed(),)
WANTED_BYTES = MODELS[0].wanted_bytes


def test_a_small_window_costs_a_latency_for_each() -> None:
    slow = storage(readahead_bytes=16 << 10)
    found = readahead(slow, faulted_bytes=64 << 20, read_bytes=0)
    assert found is not None
    good = good_window_bytes(0.001, 40e6)
    assert found.cost_s == pytest.approx((64 << 20) * 0.001 * (1 / (16 << 10) - 1 / good))
    assert found.level == "problem"
    assert found.fix[0] == f"echo {good >> 10} | sudo tee /sys/block/mmcblk0/queue/read_ahead_kb"
    assert f'ATTR{{queue/read_ahead_kb}}="{good >> 10}"' in found.fix[1]
    assert "64 MiB" in found.cost


def test_the_window_does_not_matter_to_the_reader_unless_it_is_nothing() -> None:
    assert readahead(storage(readahead_bytes=16 << 10), faulted_bytes=0, read_bytes=64 << 20) is None
    found = readahead(storage(readahead_bytes=0), faulted_bytes=0, read_bytes=64 << 20)
    assert found is not None
    assert found.cost_s is not None
    assert found.cost_s > 10  # a latency for each of 16384 pages


@pytest.mark.parametrize(
    "fine",
    [
        storage(readahead_bytes=4 << 20),
        storage(random_latency_s=0.0),
        storage(device=None),
        storage(readahead_bytes=None),
        storage(random_latency_s=None),  # unknown, but the default window
    ],
)
def test_a_window_that_is_fine_or_none(fine: object) -> None:
    assert readahead(fine, faulted_bytes=64 << 20, read_bytes=0) is None  # type: ignore[arg-type]


def test_a_small_window_of_unknown_cost_is_a_hint() -> None:
    found = readahead(storage(readahead_bytes=0, sequential_bytes_per_s=None), 0, 64 << 20)
    assert found is not None
    assert (found.level, found.cost_s) == ("hint", None)
    assert found.cost.startswith("unknown")


def test_a_good_window_hides_the_latency_within_bounds() -> None:
    assert good_window_bytes(0.0, 40e6) == 128 << 10
    assert good_window_bytes(0.001, 40e6) == 512 << 10
    assert good_window_bytes(0.1, 1e9) == 4 << 20


def test_an_unknown_rate_is_said_where_models_lie() -> None:
    unknown = storage(sequential_bytes_per_s=None)
    found = rate_unknown(unknown, MODELS)
    assert found is not None
    assert (found.level, found.cost) == ("unknown", "unknown")
    assert rate_unknown(unknown, ()) is None
    assert rate_unknown(storage(), MODELS) is None


def test_a_network_mount() -> None:
    found = network_storage(storage(kind="network"), MODELS)
    assert found is not None
    assert found.cost_s == pytest.approx(WANTED_BYTES / 40e6)
    assert "smollm2 lies on a network mount" in found.what
    assert "/models/smollm2.gguf" in found.fix[0]
    unknown = network_storage(storage(kind="network", sequential_bytes_per_s=None), MODELS)
    assert unknown is not None
    assert unknown.cost.startswith("unknown")
    assert network_storage(storage(), MODELS) is None


def other(**facts: object) -> OtherDisk:
    known: dict[str, object] = {
        "point": "/mnt/ssd",
        "device": "sda",
        "kind": "ssd",
        "free_bytes": 8 << 30,
        "bytes_per_s": 400e6,
    }
    return OtherDisk(**(known | facts))  # type: ignore[arg-type]


def test_the_slower_of_two_measured_disks() -> None:
    found = slower_disk(storage(), MODELS, [other(), other(device="sdb", bytes_per_s=90e6)])
    assert found is not None
    assert found.cost_s == pytest.approx(WANTED_BYTES / 40e6 - WANTED_BYTES / 400e6)
    assert found.level == "problem"
    assert "/mnt/ssd/edged-models" in found.fix[0]


@pytest.mark.parametrize(
    "no_better",
    [
        other(bytes_per_s=45e6),
        other(free_bytes=SIZE_BYTES),
        other(device="mmcblk0"),  # the same one, mounted elsewhere
        other(bytes_per_s=None, kind="hdd"),
        other(bytes_per_s=None, kind="virtual"),
    ],
)
def test_disks_that_are_no_better(no_better: OtherDisk) -> None:
    assert slower_disk(storage(), MODELS, [no_better]) is None


def test_a_disk_of_a_faster_kind_is_a_hint_until_it_is_measured() -> None:
    found = slower_disk(storage(), MODELS, [other(bytes_per_s=None, kind="nvme")])
    assert found is not None
    assert (found.level, found.cost_s) == ("hint", None)
    assert found.cost.startswith("unknown")


def mounted(fs_type: str, *options: str) -> Mount:
    return Mount(device="0:1", root="/", point="/models", fs_type=fs_type, source="pool", options=options)


@pytest.mark.parametrize(
    ("mount", "level", "fix"),
    [
        (mounted("zfs"), "hint", "zfs_arc_max"),
        (mounted("btrfs", "compress=zstd:3"), "hint", "compression none"),
        (mounted("squashfs"), "problem", "cp -a"),
        (mounted("9p", "trans=virtio"), "problem", "cache=mmap"),
    ],
)
def test_file_systems_that_decompress_or_do_not_cache(mount: Mount, level: str, fix: str) -> None:
    found = filesystem(mount, storage(), MODELS)
    assert found is not None
    assert found.level == level
    assert fix in found.fix[0]
    assert "unknown" in found.cost
    assert filesystem(mount, storage(), ()) is None


@pytest.mark.parametrize("mount", [mounted("ext4"), mounted("btrfs"), mounted("9p", "cache=mmap")])
def test_file_systems_that_are_fine(mount: Mount) -> None:
    assert filesystem(mount, storage(), MODELS) is None


def test_a_full_disk() -> None:
    found = free_space(storage(free_bytes=10 << 20))
    assert found is not None
    assert "10 MiB" in found.what
    assert free_space(storage()) is None
    assert free_space(storage(free_bytes=None)) is None
