"""A smaller plan for a model whose runner the kernel has ended for its memory.

The prediction was wrong, or others took what had been there: by how much nobody knows. So the next load takes
noticeably less than the last, and after another end less again.
"""

from typing import NamedTuple

import msgspec

from edged.config.units import format_bytes
from edged.hw.snapshot import HardwareSnapshot
from edged.policy.account import claim_of
from edged.policy.plan import plan as plan_all
from edged.policy.types import LoadPlan, Measured, ModelInput, PlanSettings

_LESS_SHARE = 1 / 8  # of what the kernel cannot take back
_MOST_TRIES = 16


class Facts(NamedTuple):
    """What a model was planned by."""

    snapshot: HardwareSnapshot
    model: ModelInput
    settings: PlanSettings
    measured: Measured


def fitting(plan: LoadPlan, room_bytes: int, facts: Facts) -> LoadPlan | None:
    """A plan that needs no more than `room_bytes`; None where there is none.

    Its first reason says that it is not the one for all the memory that there was.
    """
    found = _within(room_bytes, facts)
    if found is None or claim_of(found).need_bytes > room_bytes:
        return None
    what = ", ".join(found.shrunk) or f"loaded as {found.strategy}"
    why = f"{format_bytes(room_bytes)} are there now instead of {format_bytes(_need_bytes(plan))}: {what}"
    return _instead_of(plan, found, why)


def smaller(plan: LoadPlan, facts: Facts) -> LoadPlan | None:
    """The next plan; None where what the user has fixed, or the smallest settings, take as much.

    Its first reason says by how much less it takes.
    """
    least_less_bytes = max(1, round(_LESS_SHARE * _held_bytes(plan)))
    budget_bytes = _need_bytes(plan)
    for _ in range(_MOST_TRIES):
        budget_bytes -= least_less_bytes
        found = _within(budget_bytes, facts)
        if found is None:
            return None
        saved_bytes = _held_bytes(plan) - _held_bytes(found)
        if saved_bytes >= least_less_bytes:
            return _instead_of(plan, found, _why(found, saved_bytes))
        budget_bytes = min(budget_bytes, _need_bytes(found))
    return None


def _within(budget_bytes: int, facts: Facts) -> LoadPlan | None:
    """The plan with so much memory for the model, and nothing else to load."""
    if budget_bytes <= 0:
        return None
    memory = msgspec.structs.replace(facts.settings.memory, budget=budget_bytes)
    settings = msgspec.structs.replace(facts.settings, memory=memory)
    found = plan_all(facts.snapshot, [facts.model], settings, facts.measured)[0]
    return None if found.strategy == "refused" else found


def _why(found: LoadPlan, saved_bytes: int) -> str:
    what = ", ".join(found.shrunk) or f"loaded as {found.strategy}"
    return f"{format_bytes(saved_bytes)} less than before, when there was not enough: {what}"


def _instead_of(plan: LoadPlan, found: LoadPlan, why: str) -> LoadPlan:
    return msgspec.structs.replace(
        found,
        load_at_start=plan.load_at_start,
        makes_room=plan.makes_room,
        strategy=plan.strategy if plan.strategy == "on_demand" else found.strategy,
        reasons=(why, *found.reasons),
    )


def _held_bytes(plan: LoadPlan) -> int:
    """What the kernel cannot take back while the runner lives."""
    return plan.predicted.anon_bytes + plan.mlock_bytes


def _need_bytes(plan: LoadPlan) -> int:
    """What the plan's budget had to hold at least."""
    return plan.predicted.anon_bytes + (plan.mlock_bytes if plan.paged else plan.predicted.file_bytes)
