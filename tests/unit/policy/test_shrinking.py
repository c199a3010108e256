"""Plans for less memory: after an OOM kill noticeably less each time, else what is left."""

import itertools

import msgspec
import pytest

from edged.policy.account import claim_of
from edged.policy.shrinking import Facts, fitting, smaller
from edged.policy.types import LoadPlan, Measured
from tests.unit.policy.machines import MIB, machine, model, plan_one, settings


def _plans(plan: LoadPlan, facts: Facts) -> list[LoadPlan]:
    """One OOM kill after the other."""
    found = [plan]
    while (following := smaller(found[-1], facts)) is not None:
        found.append(following)
    return found


@pytest.mark.parametrize("name", ["minilm", "smollm2", "gemma"])
def test_each_kill_leads_to_less_until_nothing_is_smaller(name: str) -> None:
    plan = plan_one(machine(), model(name))
    plans = _plans(plan, Facts(machine(), model(name), settings(), Measured()))
    held = [each.predicted.anon_bytes + each.mlock_bytes for each in plans]
    assert all(after <= before * 7 / 8 + 1 for before, after in itertools.pairwise(held))
    assert all(each.strategy != "refused" for each in plans)
    if name != "minilm":
        assert len(plans) > 2
        assert plans[1].n_ctx >= plans[-1].n_ctx >= 512, "not below n_ctx_min"


def test_it_says_by_how_much_less() -> None:
    facts = Facts(machine(), model("smollm2"), settings(), Measured())
    found = smaller(plan_one(machine(), model("smollm2")), facts)
    assert found is not None
    assert "MiB less than before, when there was not enough" in found.reasons[0]
    assert found.shrunk
    assert found.load_at_start


def test_what_the_user_has_fixed_is_not_shrunk() -> None:
    fixed = model(
        "smollm2", n_ctx=2048, n_seq_max=2, n_ubatch=128, n_batch=128, type_k="f16", type_v="f16",
        repack=False, strategy="warm",
    )  # fmt: skip
    assert smaller(plan_one(machine(), fixed), Facts(machine(), fixed, settings(), Measured())) is None


def test_a_model_that_pins_nearly_all_there_is_pins_less() -> None:
    small = machine(available_bytes=400 * MIB)
    plan = plan_one(small, model("gemma"), settings(reserve=32 * MIB))
    facts = Facts(small, model("gemma"), settings(reserve=32 * MIB), Measured())
    held = [each.predicted.anon_bytes + each.mlock_bytes for each in _plans(plan, facts)]
    assert held == sorted(held, reverse=True)


def test_a_model_on_demand_stays_on_demand() -> None:
    wanted = model("smollm2", preload=False)
    plan = plan_one(machine(), wanted)
    found = smaller(plan, Facts(machine(), wanted, settings(), Measured()))
    assert found is not None
    assert (found.strategy, found.load_at_start) == ("on_demand", False)
    again = msgspec.structs.replace(found, reasons=())
    assert smaller(again, Facts(machine(), wanted, settings(), Measured())) is not None


def test_a_plan_for_the_room_that_is_left_needs_no_more_than_that() -> None:
    full = plan_one(machine(), model("smollm2"))
    facts = Facts(machine(), model("smollm2"), settings(), Measured())
    for room in (400, 300, 200, 120):
        found = fitting(full, room * MIB, facts)
        assert found is not None
        assert claim_of(found).need_bytes <= room * MIB
        assert found.load_at_start
        assert found.reasons[0].startswith(f"{room} MiB are there now instead of ")
    assert fitting(full, 10 * MIB, facts) is None
    assert fitting(full, 0, facts) is None


def test_a_plan_for_the_room_that_is_left_keeps_what_the_user_has_fixed() -> None:
    fixed = model("smollm2", n_ctx=2048, n_seq_max=2, type_k="f16", type_v="f16", strategy="warm")
    facts = Facts(machine(), fixed, settings(), Measured())
    found = fitting(plan_one(machine(), fixed), 320 * MIB, facts)
    assert found is not None
    assert (found.n_ctx, found.n_seq_max, found.type_k) == (2048, 2, "f16")
    assert fitting(plan_one(machine(), fixed), 150 * MIB, facts) is None
