"""What memory and its limits cost a cold start."""

from pathlib import Path

import msgspec
import pytest

from edged.doctor.facts import LimitAt, MemLock, SwapDevice
from edged.doctor.memory import memory_limit, memory_lock, memory_pressure, no_swap, swap_device
from edged.hw.snapshot import MemoryFacts
from edged.policy.types import LoadPlan
from tests.unit.doctor.invented import a_plan, installed

MIB = 1 << 20


def test_swap_on_a_card_costs_what_has_to_come_back() -> None:
    found = swap_device(SwapDevice(name="/dev/mmcblk0p3", kind="sd", used_bytes=80_000_000, bytes_per_s=20e6))
    assert found is not None
    assert found.cost_s == 4.0
    assert found.fix[0] == "sudo swapoff /dev/mmcblk0p3"
    assert "zram" in found.fix[-1]


def test_swap_that_is_not_used_costs_nothing_yet() -> None:
    found = swap_device(SwapDevice(name="/var/swap", kind="sd", used_bytes=0, bytes_per_s=20e6))
    assert found is not None
    assert found.cost_s is None
    assert found.cost.startswith("nothing yet")
    assert "dphys-swapfile" in found.fix[0]


def test_swap_of_unknown_rate() -> None:
    found = swap_device(SwapDevice(name="/dev/sda2", kind="usb", used_bytes=MIB))
    assert found is not None
    assert found.cost == "unknown; 1 MiB are out there now"


@pytest.mark.parametrize("kind", ["memory", "nvme", "ssd", "virtual", "unknown"])
def test_swap_that_is_fine(kind: str) -> None:
    assert swap_device(SwapDevice(name="/dev/zram0", kind=kind, used_bytes=MIB)) is None


def test_no_swap_matters_when_the_models_take_nearly_everything() -> None:
    plan = a_plan()
    need_bytes = plan.predicted.anon_bytes + plan.predicted.file_bytes
    tight = MemoryFacts(available_bytes=need_bytes + MIB, swap_total_bytes=0, zram_bytes=0)
    found = no_swap(tight, [plan])
    assert found is not None
    assert found.fix == ("sudo apt-get install zram-tools",)
    assert found.cost.startswith("another load: up to ")
    assert no_swap(msgspec.structs.replace(tight, available_bytes=10 * need_bytes), [plan]) is None
    assert no_swap(msgspec.structs.replace(tight, swap_total_bytes=MIB), [plan]) is None
    assert no_swap(tight, [msgspec.structs.replace(plan, load_at_start=False)]) is None
    unknown = no_swap(MemoryFacts(), [plan])
    assert unknown is not None
    assert unknown.level == "unknown"


def limit(folder: str = "/sys/fs/cgroup/system.slice/edged.service", version: int = 2) -> LimitAt:
    return LimitAt(folder=Path(folder), version=version, limit_bytes=256 * MIB, used_bytes=10 * MIB)


def later(plan: LoadPlan, strategy: str, first_answer_s: float | None) -> LoadPlan:
    predicted = msgspec.structs.replace(plan.predicted, first_answer_s=first_answer_s)
    return msgspec.structs.replace(plan, strategy=strategy, predicted=predicted)


def test_a_limit_that_changes_a_strategy() -> None:
    full = later(a_plan(), "warm", 2.0)
    found = memory_limit(limit(), [later(full, "lazy", 5.0)], [full], reserve_bytes=128 * MIB)
    assert found is not None
    assert found.cost_s == 3.0
    assert "smollm2: lazy instead of warm" in found.what
    need_bytes = full.predicted.anon_bytes + full.predicted.file_bytes + 138 * MIB
    assert found.fix == (
        f"sudo systemctl set-property edged.service MemoryMax={-(-need_bytes // MIB)}M MemoryHigh=infinity",
    )


def test_a_limit_by_which_a_model_is_not_loaded_at_start() -> None:
    full = later(a_plan(), "warm", 2.0)
    found = memory_limit(limit(), [later(full, "on_demand", 2.0)], [full], 0)
    assert found is not None
    assert found.cost == "first answers come 2 s later, by the predictions"


def test_a_limit_that_shrinks_settings_or_refuses() -> None:
    full = a_plan()
    shrunk = msgspec.structs.replace(full, n_ctx=512, type_k="q8_0")
    found = memory_limit(limit("/sys/fs/cgroup/memory/box", version=1), [shrunk], [full], 0)
    assert found is not None
    assert found.cost == "no time, by the predictions"
    assert f"n_ctx 512 instead of {full.n_ctx}, type_k q8_0 instead of {full.type_k}" in found.what
    assert found.fix[0].endswith("| sudo tee /sys/fs/cgroup/memory/box/memory.limit_in_bytes")
    refused = memory_limit(limit(), [msgspec.structs.replace(full, strategy="refused")], [full], 0)
    assert refused is not None
    assert refused.cost_s is None
    assert refused.cost.startswith("unknown")


def test_a_limit_that_changes_nothing_is_fine() -> None:
    assert memory_limit(limit(), [a_plan()], [a_plan()], 0) is None
    assert memory_limit(None, [a_plan()], [], 0) is None


def test_locked_models_need_the_right_to_lock() -> None:
    models = [installed(strategy="locked", mlock_bytes=90 * MIB)]
    found = memory_lock(MemLock(limit_bytes=8 * MIB, owner="edged.service"), models)
    assert found is not None
    assert "edged.service may lock 8 MiB" in found.what
    assert "they get copies instead, which swap can take" in found.what
    assert "LimitMEMLOCK=infinity" in found.fix[0]
    assert memory_lock(MemLock(limit_bytes=None, owner="this shell"), models) is None
    assert memory_lock(MemLock(limit_bytes=90 * MIB, owner="this shell"), models) is None
    assert memory_lock(MemLock(limit_bytes=0, owner="this shell"), [installed()]) is None
    unknown = memory_lock(None, models)
    assert unknown is not None
    assert unknown.level == "unknown"


def test_pressure_right_now() -> None:
    found = memory_pressure(MemoryFacts(psi_some_avg10=27.0, psi_full_avg10=2.0))
    assert found is not None
    assert "27 %" in found.cost
    assert memory_pressure(MemoryFacts(psi_some_avg10=1.0, psi_full_avg10=0.0)) is None
    stalled = memory_pressure(MemoryFacts(psi_some_avg10=5.0, psi_full_avg10=5.0))
    assert stalled is not None
    unknown = memory_pressure(MemoryFacts())
    assert unknown is not None
    assert unknown.level == "unknown"
