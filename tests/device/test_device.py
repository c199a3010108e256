"""The emulated device does what it says. Needs root and writable control groups."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device.cgroups import CannotEmulate, Hierarchy, find_hierarchies
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES, Limits, settings
from tests.device.page_cache import StillCached, cached_bytes, cold

EVERYTHING = Limits(ram_bytes=64 << 20, read_bytes_per_s=20_000_000, cpus=0.5)


@pytest.fixture
def needs_devices() -> None:
    reason = why_not(EVERYTHING)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A file of 24 MB that is not in the page cache. In /var/tmp: /tmp may be a RAM disk."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="edged-device-") as folder:
        path = Path(folder, "file")
        path.write_bytes(os.urandom(24_000_000))
        cold(path)
        yield path


def test_a_cold_file_becomes_cached_by_reading_and_cold_again(on_disk: Path) -> None:
    assert cached_bytes(on_disk) == 0
    on_disk.read_bytes()
    assert cached_bytes(on_disk) >= 24_000_000
    cold(on_disk)
    assert cached_bytes(on_disk) == 0


def test_an_empty_file_is_cold(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    cold(tmp_path / "empty")


def test_a_mapped_file_is_reported_as_still_cached(on_disk: Path) -> None:
    script = (
        "import mmap, sys; file = open(sys.argv[1])\n"
        "mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); mapping[:]\n"
        "print('mapped', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(on_disk)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as mapper:
        assert mapper.stdout is not None
        assert mapper.stdout.readline() == b"mapped\n"
        with pytest.raises(StillCached, match="stay in the page cache"):
            cold(on_disk)
        mapper.communicate(b"\n")


@pytest.mark.usefixtures("needs_devices")
def test_cold_reads_run_at_the_devices_speed(on_disk: Path) -> None:
    with Device(Limits(read_bytes_per_s=20_000_000)) as device:
        started = time.monotonic()
        with device.run(
            ["dd", f"if={on_disk}", "of=/dev/null", "bs=1M"], stderr=subprocess.DEVNULL
        ) as reader:
            assert reader.wait(timeout=60) == 0
        rate = 24_000_000 / (time.monotonic() - started)
    assert rate == pytest.approx(20_000_000, rel=0.25)


@pytest.mark.usefixtures("needs_devices")
def test_memory_beyond_the_limit_gets_the_process_killed() -> None:
    with Device(Limits(ram_bytes=64 << 20)) as device:
        for size_mib, code in ((16, 0), (200, -signal.SIGKILL)):
            with device.run([sys.executable, "-c", f"b'x' * ({size_mib} << 20)"]) as process:
                assert process.wait(timeout=60) == code


@pytest.mark.usefixtures("needs_devices")
def test_the_page_cache_counts_as_memory(on_disk: Path) -> None:
    with Device(Limits(ram_bytes=12 << 20)) as device:
        with device.run(["cat", str(on_disk)], stdout=subprocess.DEVNULL) as reader:
            assert reader.wait(timeout=60) == 0
        assert 0 < cached_bytes(on_disk) <= 12 << 20


@pytest.mark.usefixtures("needs_devices")
def test_half_a_cpu_takes_wall_time_twice_the_cpu_time() -> None:
    spin = "import time\nwhile time.process_time() < 0.4: pass"
    with Device(Limits(cpus=0.5)) as device:
        started = time.monotonic()
        with device.run([sys.executable, "-c", spin]) as process:
            assert process.wait(timeout=60) == 0
        assert time.monotonic() - started > 0.6


@pytest.mark.usefixtures("needs_devices")
def test_what_still_runs_is_killed_and_the_groups_are_gone() -> None:
    with Device(EVERYTHING) as device:
        script = "sleep 1000 & echo started; exec sleep 1000"
        process = device.run(["sh", "-c", script], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        assert all(folder.exists() for folder in device.folders)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert process.stdout.read() == ""  # the end, which comes when the grandchild is dead, too
    process.stdout.close()
    assert not any(folder.exists() for folder in device.folders)


@pytest.mark.usefixtures("needs_devices")
def test_groups_of_a_killed_test_run_are_removed_by_the_next_device() -> None:
    script = (
        "from tests.device.device import Device; from tests.device.limits import Limits\n"
        "device = Device(Limits(ram_bytes=64 << 20)); device.__enter__(); device.run(['sleep', '1000'])\n"
        "print(device.folders[0], flush=True); import signal; signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        left_behind = Path(killed.stdout.readline().strip())
        assert left_behind.exists()
        killed.kill()
    assert left_behind.exists()
    with Device(Limits(ram_bytes=64 << 20)):
        assert not left_behind.exists()


@pytest.mark.usefixtures("needs_devices")
def test_a_limit_that_the_kernel_refuses_says_where_and_leaves_nothing() -> None:
    device = Device(Limits(cpus=0.000001))
    with pytest.raises(CannotEmulate, match=r"cpu\..* does not take"), device:
        pass
    assert not any(folder.exists() for folder in device.folders)


def test_hierarchies_are_found_in_v1_v2_and_hybrid_mounts(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    v2 = f"cgroup2 {tmp_path} cgroup2 rw 0 0\n"
    assert find_hierarchies(v2)["io"] == Hierarchy(2, tmp_path)
    v1 = "cgroup /sys/fs/cgroup/blkio cgroup rw,relatime,blkio 0 0\ntmpfs / tmpfs rw 0 0\nshort line\n"
    assert find_hierarchies(v1) == {"io": Hierarchy(1, Path("/sys/fs/cgroup/blkio"))}
    assert find_hierarchies(v1 + v2)["io"].version == 1
    assert find_hierarchies("") == {}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_can_be_made_and_leaves_nothing(name: str, needs_devices: None) -> None:
    with Device(PROFILES[name]) as device:
        folders = device.folders
        assert folders
        assert all(folder.exists() for folder in folders)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.usefixtures("needs_devices")
def test_few_reads_a_second_limit_small_reads_and_not_large_ones(on_disk: Path) -> None:
    script = (
        "import os, sys, time; file = os.open(sys.argv[1], os.O_RDONLY); size = int(sys.argv[2])\n"
        "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)\n"
        "start = time.monotonic(); [os.pread(file, size, n * (1 << 20)) for n in range(20)]\n"
        "print(time.monotonic() - start)"
    )
    took_s = {}
    with Device(Limits(reads_per_s=40)) as device:
        for size_bytes in (4096, 1 << 20):
            device.cold(on_disk)
            argv = [sys.executable, "-c", script, str(on_disk), str(size_bytes)]
            with device.run(argv, stdout=subprocess.PIPE) as reader:
                assert reader.stdout is not None
                took_s[size_bytes] = float(reader.stdout.read())
    assert min(took_s.values()) > 0.3, "20 reads at 40 a second, the first of them at once"
    assert took_s[1 << 20] < 3 * took_s[4096]


def test_a_profile_in_the_words_of_each_cgroup_version() -> None:
    for version, expected in (
        (
            1,
            {
                "memory": [("memory.swappiness", "0"), ("memory.limit_in_bytes", str(4 << 30))],
                "io": [
                    ("blkio.throttle.read_bps_device", "8:0 100000000"),
                    ("blkio.throttle.read_iops_device", "8:0 120"),
                ],
                "cpu": [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "200000")],
            },
        ),
        (
            2,
            {
                "memory": [("memory.swap.max", "0"), ("memory.max", str(4 << 30))],
                "io": [("io.max", "8:0 rbps=100000000 riops=120")],
                "cpu": [("cpu.max", "200000 100000")],
            },
        ),
    ):
        hierarchies = {controller: Hierarchy(version, Path("/c")) for controller in ("memory", "io", "cpu")}
        assert settings(PROFILES["hdd100"], hierarchies, ["8:0"]) == expected


def test_a_rate_alone_and_no_rate_at_all() -> None:
    hierarchies = {controller: Hierarchy(2, Path("/c")) for controller in ("memory", "io", "cpu")}
    assert settings(Limits(read_bytes_per_s=5), hierarchies, ["8:0"]) == {"io": [("io.max", "8:0 rbps=5")]}
    assert "io" not in settings(PROFILES["nvme"], hierarchies, ["8:0"])


def test_half_a_cpu_in_the_words_of_each_cgroup_version() -> None:
    expected = {
        1: [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
        2: [("cpu.max", "50000 100000")],
    }
    for version, pairs in expected.items():
        assert settings(Limits(cpus=0.5), {"cpu": Hierarchy(version, Path("/c"))}, []) == {"cpu": pairs}
