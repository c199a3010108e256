from collections.abc import Callable
from pathlib import Path

import msgspec

from edged.hw.probe import probe
from edged.hw.snapshot import HardwareSnapshot

MIB = 1 << 20


def test_all_facts_of_this_machine(cold_file: Callable[[str, int], Path]) -> None:
    path = str(cold_file("model.gguf", 8 * MIB))

    snapshot = probe([path])

    assert snapshot.memory.total_bytes is not None
    assert snapshot.cpu.usable_cores is not None
    file, storage = snapshot.file(path), snapshot.storage_of(path)
    assert file is not None
    assert file.size_bytes == 8 * MIB
    assert storage is not None
    assert 0 < snapshot.probe_s < 10


def test_survives_json() -> None:
    snapshot = probe(["/missing.gguf"])

    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=HardwareSnapshot) == snapshot


def test_without_time_there_are_still_memory_and_cpu(cold_file: Callable[[str, int], Path]) -> None:
    snapshot = probe([str(cold_file("model.gguf", MIB))], time_budget_s=0.0)

    assert snapshot.memory.total_bytes is not None
    assert all(storage.sequential_bytes_per_s is None for storage in snapshot.storage)
