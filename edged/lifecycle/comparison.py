"""A plan's predicted times, and beside them what was measured."""

from collections.abc import Sequence

import msgspec

from edged.lifecycle.calibration import Load
from edged.lifecycle.status import ModelStatus
from edged.policy.types import LoadPlan


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Measured seconds after the start of a load; None where there was none."""

    ready_s: float | None = None
    first_answer_s: float | None = None


class ComparedPlan(LoadPlan, frozen=True, kw_only=True):
    """A plan, and beside its `predicted` what was measured."""

    measured: Times


class Plans(msgspec.Struct, frozen=True, kw_only=True):
    """The plans of all models, and why others have none."""

    plans: tuple[ComparedPlan, ...]
    problems: dict[str, str]


def times_of(status: ModelStatus) -> Times:
    """The last load since edged started."""
    return Times(ready_s=status.measured_ready_s, first_answer_s=status.measured_first_answer_s)


def last_times(plan: LoadPlan, loads: Sequence[Load]) -> Times:
    """The last of the kept `loads` (the latest last) of the plan's file by its strategy."""
    for load in reversed(loads):
        if (load.path, load.strategy) == (plan.path, plan.strategy):
            return Times(ready_s=load.ready_s, first_answer_s=load.first_answer_s)
    return Times()


def with_measured(plan: LoadPlan, measured: Times) -> ComparedPlan:
    """The plan, `measured` beside its `predicted`."""
    return ComparedPlan(**msgspec.structs.asdict(plan), measured=measured)
