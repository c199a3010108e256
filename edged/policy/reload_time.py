"""How long it takes to bring a model back that was unloaded."""

from typing import NamedTuple

from edged.policy.types import LoadPlan


class Expected(NamedTuple):
    """Seconds after the start of a load; None where unknown."""

    ready_s: float | None
    first_answer_s: float | None


def wanted_bytes(plan: LoadPlan) -> int:
    """What a load reads of the file: all that is used, where nothing is read ahead."""
    return sum(piece.length for piece in plan.prefetch) or plan.predicted.file_bytes


def reload_s(plan: LoadPlan, cached_bytes: int = 0) -> float:
    """Predicted seconds from a request to its answer, with so much of the file still in the page cache.

    The reader works while the runner starts and parses the vocabulary. Where the storage's rate is unknown,
    reading is left out.
    """
    predicted = plan.predicted
    uncached_bytes = max(0, wanted_bytes(plan) - cached_bytes)
    rate = predicted.read_bytes_per_s
    return max(predicted.started_s, uncached_bytes / rate if rate else 0.0)


def expected(plan: LoadPlan, cached_bytes: int | None) -> Expected:
    """What a load by an older plan takes that begins with so much of the file in the page cache.

    What the plan said where that is unknown, or where pages come as they are touched.
    """
    predicted = plan.predicted
    if cached_bytes is None or not predicted.read_bytes_per_s or not plan.prefetch or plan.paged:
        return Expected(predicted.ready_s, predicted.first_answer_s)
    complete_s = reload_s(plan, cached_bytes)
    if plan.strategy in ("warm", "locked"):
        return Expected(complete_s + predicted.batch_s, complete_s + 2 * predicted.batch_s)
    ready_s = complete_s if plan.repack else predicted.started_s
    return Expected(ready_s, complete_s + predicted.batch_s)
