import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edged.hw import storage as module
from edged.hw.device import Device
from edged.hw.rate import TimedRead
from edged.hw.residency import Run, residency
from edged.hw.sampling import Samples
from edged.hw.snapshot import FileFacts, StorageFacts
from edged.hw.storage import Looked, storage_facts
from tests.unit.hw.test_cgroup import fake_proc

MIB = 1 << 20


def soon() -> float:
    return time.monotonic() + 5.0


def test_a_cold_file_is_measured_and_what_was_read_counts_as_cached(
    cold_file: Callable[[str, int], Path],
) -> None:
    path = cold_file("model.gguf", 16 * MIB)

    (storage,), (file,) = storage_facts([str(path)], soon())

    assert storage.sequential_bytes_per_s is not None
    assert storage.sequential_bytes_per_s > 0
    assert storage.random_latency_s is not None
    assert storage.measured_bytes > 0
    assert (file.size_bytes, file.storage_path) == (16 * MIB, storage.path)
    assert file.cached_share == pytest.approx(storage.measured_bytes / (16 * MIB), abs=0.02)


def test_a_cached_file_is_measured_without_evicting_it(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 8 * MIB)
    path.read_bytes()

    (storage,), (file,) = storage_facts([str(path)], soon())
    again = storage_facts([str(path)], soon())[1][0]

    assert storage.measured_bytes > 0
    assert file.cached_share is not None
    assert again.cached_share is not None
    assert min(file.cached_share, again.cached_share) > 0.9


def test_a_device_is_measured_once(cold_file: Callable[[str, int], Path]) -> None:
    small, large = cold_file("small.gguf", 2 * MIB), cold_file("large.gguf", 8 * MIB)

    storage, files = storage_facts([str(small), str(large)], soon())

    assert len(storage) == 1
    assert [file.path for file in files] == [str(small), str(large)]
    assert files[0].cached_share is not None
    assert files[0].cached_share < 0.1, "the measured file is the one with the most uncached bytes"


def test_a_file_in_memory_is_not_measured() -> None:
    path = Path("/dev/shm") / f"edged-test-{os.getpid()}.gguf"
    path.write_bytes(os.urandom(MIB))
    try:
        (storage,), (file,) = storage_facts([str(path)], soon())
    finally:
        path.unlink()

    assert (storage.kind, storage.sequential_bytes_per_s, storage.measured_bytes) == ("memory", None, 0)
    assert file.cached_share == 1.0


def test_a_missing_file_counts_for_the_storage_it_would_lie_on(disk_folder: Path) -> None:
    path = str(disk_folder / "models" / "missing.gguf")

    (storage,), (file,) = storage_facts([path], soon())

    assert file == FileFacts(path=path, storage_path=storage.path)
    assert storage.sequential_bytes_per_s is None
    assert storage.free_bytes is not None


def test_a_folder_is_storage_and_no_file(disk_folder: Path) -> None:
    storage, files = storage_facts([str(disk_folder)], soon())

    assert len(storage) == 1
    assert files == ()


def test_holes_are_not_measured(disk_folder: Path) -> None:
    path = disk_folder / "sparse.gguf"
    path.touch()
    os.truncate(path, 64 * MIB)

    (storage,), (file,) = storage_facts([str(path)], soon())

    assert storage.sequential_bytes_per_s is None
    assert file.size_bytes == 64 * MIB


def test_odd_paths_are_unknown_not_errors(disk_folder: Path) -> None:
    pipe = disk_folder / "pipe.gguf"
    os.mkfifo(pipe)
    loop = disk_folder / "loop.gguf"
    loop.symlink_to(loop)
    empty = disk_folder / "empty.gguf"
    empty.touch()
    below_a_file = str(empty / "x.gguf")

    paths = [str(pipe), str(loop), str(empty), below_a_file, "a\0b", "", "/" + "n" * 5000]
    _, files = storage_facts(paths, soon())

    found = {file.path: file for file in files}
    assert found[str(empty)].size_bytes == 0
    assert all(found[path].size_bytes is None for path in paths if path not in (str(empty), ""))
    assert all(file.cached_share is None for file in files)


def test_no_paths_no_facts() -> None:
    assert storage_facts([], soon()) == ((), ())


def test_an_unreadable_mount_table_does_not_end_it(
    tmp_path: Path, cold_file: Callable[[str, int], Path]
) -> None:
    path = cold_file("model.gguf", MIB)

    (storage,), (file,) = storage_facts([str(path)], soon(), proc=tmp_path, sys=tmp_path)

    assert (storage.kind, storage.path) == ("unknown", str(path.parent))
    assert file.size_bytes == MIB


def test_a_dead_mount_costs_only_its_own_facts(
    cold_file: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, release = cold_file("model.gguf", MIB), threading.Event()
    look = module._look

    def blocking(path: Path, *rest: object) -> object:
        return release.wait() if "dead" in path.name else look(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_look", blocking)
    try:
        storage, files = storage_facts([str(alive), "/mnt/dead.gguf"], time.monotonic() + 0.6)
    finally:
        release.set()

    assert len(storage) == 1
    assert files[1] == FileFacts(path="/mnt/dead.gguf")
    assert files[0].size_bytes == MIB


@pytest.mark.parametrize(
    ("device", "overhead_s"),
    [
        (Device(key="sda", is_rotational=True), 0.0),
        (Device(key="mmcblk0", request_bytes=512 << 10), 0.002),
        (Device(key="nvme0n1", request_bytes=2 * MIB), 0.001),
        (Device(key="0:40"), 0.001),
    ],
)
def test_waiting_in_a_sequential_read(device: Device, overhead_s: float) -> None:
    assert module._request_overhead_s(device, 0.001, direct=False) == overhead_s


def test_what_was_measured_counts_when_the_device_is_too_slow_to_finish(
    cold_file: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, release = cold_file("model.gguf", 8 * MIB), threading.Event()

    def slow(path: Path, uncached: Sequence[Run], budget_s: float, samples: Samples) -> None:
        samples.reads.append(TimedRead(0.0, 0.5, MIB))
        release.wait()

    monkeypatch.setattr(module, "sample", slow)
    try:
        (storage,), _ = storage_facts([str(path)], time.monotonic() + 0.6)
    finally:
        release.set()

    assert storage.sequential_bytes_per_s == MIB / 0.5
    assert storage.random_latency_s is None


def test_of_a_wanted_file_only_the_wanted_bytes_are_read(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 40 * MIB)
    wanted = [Run(8 * MIB, 16 * MIB)]
    storage_facts([str(path)], soon(), {str(path): wanted})
    with path.open("rb") as file:
        resident = residency(file.fileno(), soon())
    assert resident is not None
    assert resident.cached_share < 0.5
    assert any(run.offset <= 30 * MIB < run.offset + run.length for run in resident.uncached)


@pytest.mark.parametrize(
    ("measured", "limit", "rate"),
    [(900e6, 300_000_000, 300e6), (19e6, 20_000_000, 19e6), (50e6, 100_000_000, 50e6), (None, 5, None)],
)
def test_a_control_groups_limit_is_a_bound_and_no_measurement(
    measured: float | None, limit: int, rate: float | None, tmp_path: Path
) -> None:
    folder = tmp_path / "io"
    folder.mkdir()
    (folder / "io.max").write_text(f"8:0 rbps={limit}\n")
    proc = fake_proc(tmp_path, "0::/\n", "41 31 0:38 / {top}/io rw - cgroup2 cgroup2 rw\n")
    group = {"/m": Looked(device=Device(key="sda", number="8:0"), mount_point="/")}

    found = module._limited(StorageFacts(path="/", sequential_bytes_per_s=measured), group, proc)

    assert (found.sequential_bytes_per_s, found.limit_bytes_per_s) == (rate, limit)


def test_the_measurement_keeps_to_its_bytes(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 48 * MIB)

    (storage,), _ = storage_facts([str(path)], soon())

    assert 0 < storage.measured_bytes <= 32_000_000
