"""Predicted beside measured."""

import msgspec

from edged.lifecycle.calibration import Load
from edged.lifecycle.comparison import Times, last_times, times_of, with_measured
from edged.lifecycle.status import ModelStatus
from tests.unit.policy.machines import machine, model, plan_one

PLAN = plan_one(machine(), model("smollm2"))


def kept(ready_s: float, strategy: str = PLAN.strategy, path: str = PLAN.path) -> Load:
    return Load(path=path, size_bytes=1, device="sda", strategy=strategy, ready_s=ready_s)


def test_the_last_load_of_the_same_file_and_strategy_counts() -> None:
    loads = (kept(1.0), kept(2.0), kept(3.0, strategy="lazy"), kept(4.0, path="/models/other.gguf"))
    assert last_times(PLAN, loads) == Times(ready_s=2.0)
    assert last_times(PLAN, loads[2:]) == Times()


def test_a_status_says_what_this_run_measured() -> None:
    status = ModelStatus(
        model="m", state="ready", kind=None, strategy="warm", load_at_start=True, measured_ready_s=1.5
    )
    assert times_of(status) == Times(ready_s=1.5, first_answer_s=None)


def test_the_plan_stays_as_it_is() -> None:
    fields = msgspec.to_builtins(with_measured(PLAN, Times(first_answer_s=3.0)))
    assert fields.pop("measured") == {"ready_s": None, "first_answer_s": 3.0}
    assert fields == msgspec.to_builtins(PLAN)
