"""How long it takes to bring a model back that was unloaded."""

from edged.policy.types import LoadPlan


def reload_s(plan: LoadPlan, cached_bytes: int = 0) -> float:
    """Predicted seconds from a request to its answer, with so much of the file still in the page cache.

    The reader works while the runner starts and parses the vocabulary. Where the storage's rate is unknown,
    reading is left out.
    """
    predicted = plan.predicted
    wanted_bytes = sum(piece.length for piece in plan.prefetch) or predicted.file_bytes
    uncached_bytes = max(0, wanted_bytes - cached_bytes)
    rate = predicted.read_bytes_per_s
    return max(predicted.started_s, uncached_bytes / rate if rate else 0.0)
