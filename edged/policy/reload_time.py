"""How long it takes to bring a model back that was unloaded."""

from edged.policy.types import LoadPlan


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
