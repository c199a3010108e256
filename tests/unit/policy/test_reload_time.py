"""What bringing a model back takes, by what of its file is still in the page cache."""

from typing import Any

import msgspec
import pytest

from edged.policy.reload_time import expected, reload_s, wanted_bytes
from edged.policy.types import LoadPlan
from tests.unit.policy.machines import MIB, machine, model, plan_one


def _plan(**settings: Any) -> LoadPlan:
    return plan_one(machine(bytes_per_s=20e6), model("smollm2", **settings))


def test_reading_overlaps_with_the_start_of_the_runner() -> None:
    plan = _plan()
    assert reload_s(plan) == pytest.approx(wanted_bytes(plan) / 20e6)
    assert reload_s(plan, wanted_bytes(plan)) == plan.predicted.started_s > 0
    half = wanted_bytes(plan) // 2
    assert reload_s(plan, half) == pytest.approx(half / 20e6, rel=0.01)


def test_a_load_is_expected_as_its_own_plan_predicts_it() -> None:
    for strategy in ("warm", "stream"):
        plan = _plan(strategy=strategy)
        found = expected(plan, 0)
        assert found.ready_s == pytest.approx(plan.predicted.ready_s)
        assert found.first_answer_s == pytest.approx(plan.predicted.first_answer_s)


def test_what_is_cached_by_now_makes_it_sooner() -> None:
    warm, stream = _plan(strategy="warm"), _plan(strategy="stream")
    all_bytes = wanted_bytes(warm)
    for plan in (warm, stream):
        cold, cached = expected(plan, 0), expected(plan, all_bytes)
        assert cached.first_answer_s is not None
        assert cold.first_answer_s is not None
        assert cached.first_answer_s < 1 < cold.first_answer_s
    assert expected(stream, 0).ready_s == expected(stream, all_bytes).ready_s


def test_what_is_not_known_is_as_it_was_planned() -> None:
    plan = _plan()
    for unknown, cached in (
        (plan, None),
        (msgspec.structs.replace(plan, prefetch=()), 10 * MIB),
        (msgspec.structs.replace(plan, paged=True), 10 * MIB),
    ):
        found = expected(unknown, cached)
        assert found == (plan.predicted.ready_s, plan.predicted.first_answer_s)
