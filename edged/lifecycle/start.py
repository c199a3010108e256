"""When the start is over: its models answer, or nobody need wait for them any more."""

from collections.abc import Sequence

from edged.errors import EdgedError, NoModelLoaded, RunnerFailed
from edged.lifecycle.status import ModelStatus

_GETS_ON_S = 5.0  # looks at a runner that loads are less than that apart


def awaited(statuses: Sequence[ModelStatus]) -> tuple[ModelStatus, ...]:
    """The models for which the start waits: not for one that failed for good, or too often, or that has been
    unloaded meanwhile.
    """
    return tuple(
        each
        for each in statuses
        if each.load_at_start and each.state != "ready" and each.given_up is None and each.unloaded_by is None
    )


def failure(statuses: Sequence[ModelStatus]) -> EdgedError | None:
    """Why the start has failed: every model of it was given up, and none is there on demand either.

    NoModelLoaded where a restart would not help: all files are missing, damaged or of no use. Memory may be
    free another time.
    """
    at_start = [each for each in statuses if each.load_at_start]
    given_up = [each for each in at_start if each.given_up is not None and each.state != "ready"]
    if not at_start or len(given_up) < len(at_start) or len(at_start) < len(statuses) - _unusable(statuses):
        return None
    why = "\n".join(["no model could be loaded", *(f"{each.model}: {each.reason}" for each in given_up)])
    if all(each.given_up == "file" for each in given_up):
        return NoModelLoaded(why)
    return RunnerFailed(why)


def gets_on(statuses: Sequence[ModelStatus]) -> bool:
    """Whether a start that takes long is worth waiting for: of some model bytes, cores or phases move."""
    return any(each.state == "loading" and each.silent_s < _GETS_ON_S for each in awaited(statuses))


def _unusable(statuses: Sequence[ModelStatus]) -> int:
    """Models on demand that could not be loaded either."""
    return sum(not each.load_at_start and each.given_up is not None for each in statuses)
