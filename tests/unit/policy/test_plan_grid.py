"""What holds on every machine: plans fit, keep what the user fixed, and explain themselves."""

import itertools
from typing import Any

import pytest

from edged.hw.snapshot import CpuFacts, HardwareSnapshot
from edged.policy.memory import budget_of
from edged.policy.plan import plan
from edged.policy.types import LoadPlan, ModelInput, PlanSettings
from tests.unit.policy.machines import GIB, MIB, machine, model, settings

AVAILABLE = (None, 60 * MIB, 180 * MIB, 300 * MIB, 420 * MIB, 700 * MIB, 1500 * MIB, 3 * GIB, 14 * GIB)
RATES = (None, 5e6, 20e6, 90e6, 2.5e9)  # unknown, slow SD card, SD card, USB, NVMe
CACHED = (None, 0.4, 1.0)
FIXED: tuple[dict[str, Any], ...] = (
    {},
    {"n_ctx": 2048, "type_k": "q8_0"},
    {"n_seq_max": 3, "n_ubatch": 128, "repack": False},
    {"strategy": "warm"},
    {"strategy": "lazy"},
    {"strategy": "stream", "preload": False},
    {"preload": False, "repack": True},
)


def cases() -> list[tuple[HardwareSnapshot, list[ModelInput], PlanSettings]]:
    """Machines x models x settings."""
    found = []
    for (number, available), rate, cached in itertools.product(enumerate(AVAILABLE), RATES, CACHED):
        limits = {"cgroup_limit_bytes": 256 * MIB} if number % 3 == 2 else {}
        swap = {"swap_total_bytes": GIB, "swap_free_bytes": GIB} if number % 2 else {}
        sets = ("neon", "dotprod") if number % 2 else ("avx2",)
        snapshot = machine(
            available, rate, cached, CpuFacts(usable_cores=4, instruction_sets=sets), **limits, **swap
        )
        fixed = FIXED[number % len(FIXED)]
        models = [model("minilm"), model("smollm2", **fixed), model("gemma")]
        found.append((snapshot, models, settings(lazy_available=number % 4 != 3)))
        found.append((snapshot, models[::-1], settings(prefetch=number % 4 != 1)))
    for fixed, available in itertools.product(FIXED, AVAILABLE):
        found.append((machine(available), [model("gemma", **fixed)], settings()))
    return found


CASES = cases()


@pytest.fixture(scope="module", name="plans")
def _plans() -> list[tuple[LoadPlan, ...]]:
    return [plan(*case) for case in CASES]


def need_bytes(found: LoadPlan) -> int:
    """What must be in memory: the file as well, unless its pages come and go."""
    read_ahead_bytes = sum(piece.length for piece in found.prefetch)
    pages_come_and_go = found.strategy == "lazy" or read_ahead_bytes == found.mlock_bytes
    file_bytes = found.mlock_bytes if pages_come_and_go else found.predicted.file_bytes
    return found.predicted.anon_bytes + file_bytes


def test_the_grid_reaches_every_strategy(plans: list[tuple[LoadPlan, ...]]) -> None:
    assert {found.strategy for plans_of_case in plans for found in plans_of_case} == {
        "warm", "stream", "lazy", "on_demand", "refused",
    }  # fmt: skip


def test_never_over_budget(plans: list[tuple[LoadPlan, ...]]) -> None:
    for (snapshot, _, planned), found in zip(CASES, plans, strict=True):
        total_bytes = budget_of(snapshot.memory, planned.memory).total_bytes
        assert sum(need_bytes(each) for each in found if each.load_at_start) <= total_bytes
        for each in found:
            assert each.strategy == "refused" or need_bytes(each) <= total_bytes


def test_what_the_user_fixed_is_kept(plans: list[tuple[LoadPlan, ...]]) -> None:
    for (_, models, _), found in zip(CASES, plans, strict=True):
        for one, each in zip(models, found, strict=True):
            for name in ("n_ctx", "n_seq_max", "n_batch", "n_ubatch", "type_k", "type_v", "repack"):
                fixed = getattr(one.model, name)
                assert fixed == "auto" or getattr(each, name) == fixed
            if one.model.strategy != "auto":
                assert each.strategy in (one.model.strategy, "refused")
            assert one.model.preload or not each.load_at_start
            assert each.n_ctx >= min(one.model.n_ctx_min, one.header.n_ctx_train)


def test_every_plan_explains_itself(plans: list[tuple[LoadPlan, ...]]) -> None:
    for (_, models, _), found in zip(CASES, plans, strict=True):
        for one, each in zip(models, found, strict=True):
            assert (each.model, each.path) == (one.id, one.path)
            assert each.reasons
            assert all(reason and reason.isprintable() for reason in each.reasons)
            assert "None" not in "".join(each.reasons)
            if each.strategy == "refused":
                assert f"models.{one.id}." in each.reasons[0] or "memory." in each.reasons[0]


def test_settings_work_together(plans: list[tuple[LoadPlan, ...]]) -> None:
    for found in itertools.chain.from_iterable(plans):
        assert found.n_ubatch <= found.n_batch
        assert found.n_seq_max <= found.n_batch
        assert found.n_threads == 4
        if found.kind == "embed":
            assert found.n_ctx <= found.n_ubatch
        if found.strategy in ("stream", "refused"):
            assert found.mlock_bytes == 0
        assert found.mlock_bytes in (0, sum(piece.length for piece in found.prefetch))
        if found.strategy in ("lazy", "stream"):
            assert not found.repack
        if found.strategy == "refused":
            assert not found.prefetch
        assert not (found.load_at_start and found.strategy in ("on_demand", "refused"))


def test_predictions_are_in_order(plans: list[tuple[LoadPlan, ...]]) -> None:
    for (snapshot, _, _), found in zip(CASES, plans, strict=True):
        known = (
            snapshot.storage[0].sequential_bytes_per_s is not None or snapshot.files[0].cached_share == 1.0
        )
        for each in found:
            assert (each.predicted.first_answer_s is not None) == (known and each.strategy != "refused")
            if each.predicted.ready_s is not None and each.predicted.first_answer_s is not None:
                assert 0 < each.predicted.ready_s <= each.predicted.first_answer_s


def test_deterministic(plans: list[tuple[LoadPlan, ...]]) -> None:
    assert [plan(*case) for case in CASES[:60]] == plans[:60]


def test_more_memory_never_makes_it_worse() -> None:
    ranks = {"refused": 0, "lazy": 1, "stream": 2, "warm": 2}
    for name in ("minilm", "smollm2", "gemma"):
        previous: tuple[int, int] = (0, 0)
        for available in range(60 * MIB, 900 * MIB, 20 * MIB):
            (found,) = plan(machine(available), [model(name)], settings())
            rank = (ranks[found.strategy], found.n_ctx * found.n_seq_max)
            assert rank >= previous, (name, available // MIB)
            previous = rank
