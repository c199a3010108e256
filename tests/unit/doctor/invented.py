"""Invented facts for the doctor to look at."""

from typing import Any

import msgspec

from edged.doctor.facts import Facts, InstalledModel, LlamaBuild
from edged.hw.snapshot import CpuFacts, FileFacts, StorageFacts
from edged.policy.types import LoadPlan
from tests.unit.policy.machines import MIB, machine, model, plan_one

SIZE_BYTES = 98_000_000


def storage(**facts: Any) -> StorageFacts:
    """An SD card that delivers 40 MB/s after 1 ms."""
    known: dict[str, Any] = {
        "path": "/models",
        "device": "mmcblk0",
        "kind": "sd",
        "sequential_bytes_per_s": 40e6,
        "random_latency_s": 0.001,
        "readahead_bytes": 128 << 10,
        "free_bytes": 8 << 30,
    }
    return StorageFacts(**(known | facts))


def a_plan(name: str = "smollm2", **changes: Any) -> LoadPlan:
    """A plan of a model on a roomy machine."""
    return msgspec.structs.replace(plan_one(machine(), model(name)), **changes)


def installed(
    name: str = "smollm2", receipt: Any = "ok", origin: str | None = None, **plan: Any
) -> InstalledModel:
    """A model whose file lies on `storage()`."""
    made = a_plan(name, **plan)
    file = FileFacts(path=made.path, size_bytes=SIZE_BYTES, cached_share=0.0, storage_path="/models")
    return InstalledModel(plan=made, file=file, receipt=receipt, origin=origin)


def facts(*models: InstalledModel, on: StorageFacts | None = None, **more: Any) -> Facts:
    """A machine on which nothing is wrong, but for what `more` says."""
    models = models or (installed(),)
    snapshot = machine(
        available_bytes=8192 * MIB, psi_some_avg10=0.0, psi_full_avg10=0.0, swap_total_bytes=0, zram_bytes=0
    )
    snapshot = msgspec.structs.replace(
        snapshot,
        cpu=CpuFacts(usable_cores=4, logical_cores=4, instruction_sets=("avx", "avx2")),
        storage=(on or storage(),),
        files=tuple(each.file for each in models if each.file is not None),
    )
    known: dict[str, Any] = {
        "snapshot": snapshot,
        "models": models,
        "llama": LlamaBuild(version="0.3.36", features=frozenset({"AVX", "AVX2"})),
    }
    return Facts(**(known | more))
