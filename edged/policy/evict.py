"""Whom to unload when a load needs room: those that cost least of the time that people will wait.

Every loaded model has an expected cost of being without it: the seconds that bringing it back takes on this
storage, times the probability that it is asked for soon. That is the cost in GreedyDual-Size (Cao and Irani,
1997), with a probability learnt from the model's own rhythm (`demand`) in place of that algorithm's clock.
What is freed beyond what is lacking is not lost: the next load needs it. So models leave in the order of the
bytes that they free per second lost, and in the end those stay that the others made needless.
"""

from collections.abc import Sequence

import msgspec

# What waiting for the end of a busy model's requests costs whoever is waiting for room: a typical answer.
BUSY_S = 10.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model that could be unloaded. `busy`: it has requests, and leaves only after them."""

    model: str
    frees_bytes: int
    reload_s: float
    use_probability: float
    busy: bool = False

    @property
    def lost_s(self) -> float:
        """Expected seconds that somebody waits because it was unloaded. Who is busy is in use."""
        return BUSY_S + self.reload_s if self.busy else self.reload_s * self.use_probability


def victims(candidates: Sequence[Candidate], lacking_bytes: int) -> tuple[str, ...] | None:
    """The models to unload so that so many bytes more are free: most bytes per expected second lost.

    None where not even all of them together free enough; nobody where nothing is lacking. None of them could
    be left out. The same for the same candidates in any order. Pinned models are not to be among them.
    """
    if lacking_bytes <= 0:
        return ()
    chosen: list[Candidate] = []
    freed_bytes = 0
    for candidate in sorted((each for each in candidates if each.frees_bytes > 0), key=_rank):
        chosen.append(candidate)
        freed_bytes += candidate.frees_bytes
        if freed_bytes >= lacking_bytes:
            return tuple(each.model for each in _needed(chosen, freed_bytes - lacking_bytes))
    return None


def _rank(candidate: Candidate) -> tuple[float, int, str]:
    """Seconds lost per byte; of equal ones the largest first."""
    return candidate.lost_s / candidate.frees_bytes, -candidate.frees_bytes, candidate.model


def _needed(chosen: list[Candidate], spare_bytes: int) -> list[Candidate]:
    """Without those that the others make needless, the dearest first."""
    needless = set()
    for each in sorted(chosen, key=lambda one: (-one.lost_s, one.model)):
        if each.frees_bytes <= spare_bytes:
            spare_bytes -= each.frees_bytes
            needless.add(each.model)
    return [each for each in chosen if each.model not in needless]
