"""Whom to unload when a load needs room: those that cost least of the time that people will wait.

Every loaded model has an expected cost of being without it: the seconds that bringing it back takes on this
storage, times the probability that it is asked for soon. That is the cost in GreedyDual-Size (Cao and Irani,
1997), with a probability learnt from the model's own rhythm (`demand`) in place of that algorithm's clock.
Models leave in the order of the bytes that they free per second lost, and in the end those stay that the
others have made needless: what has to go anyway is often large enough alone.

One thing may make somebody leave all the same. The file of a model that leaves stays in the page cache where
there is room, and comes back from there in no time: two chats that take turns, and do not fit together, are
better served by that room than by a third model that nobody has asked for since yesterday.

`tests/bench/eviction.py` sets it beside other policies. Its constants were found there, and are uncritical.
"""

from collections.abc import Sequence

import msgspec

from edged.config.units import format_bytes, format_seconds

# What waiting for the end of a busy model's requests costs whoever is waiting for room: a typical answer.
BUSY_S = 10.0
# Of the pages that a victim leaves behind, about so many are still there when it comes back.
_PAGES_KEPT_SHARE = 0.2


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model that could be unloaded. `busy`: it has requests, and leaves only after them.

    `reload_s` is with nothing of its file in the page cache, `warm_reload_s` with all of the `pages_bytes`
    that a load reads; 0 pages where that is not known.
    """

    model: str
    frees_bytes: int
    reload_s: float
    use_probability: float
    busy: bool = False
    pages_bytes: int = 0
    warm_reload_s: float = 0.0

    @property
    def lost_s(self) -> float:
        """Expected seconds that somebody waits because it was unloaded. Who is busy is in use."""
        return BUSY_S + self.reload_s if self.busy else self.reload_s * self.use_probability

    @property
    def page_worth_s(self) -> float:
        """Expected seconds that one byte of its file saves if it stays in the page cache."""
        if self.pages_bytes <= 0:
            return 0.0
        saved_s = max(0.0, self.reload_s - self.warm_reload_s)
        return saved_s * (1.0 if self.busy else self.use_probability) / self.pages_bytes


def victims(candidates: Sequence[Candidate], lacking_bytes: int) -> tuple[str, ...] | None:
    """The models to unload so that so many bytes more are free: most bytes per expected second lost.

    None where not even all of them together free enough; nobody where nothing is lacking. None of them could
    be left out, but for the sake of others' pages. The same for the same candidates in any order. Pinned
    models are not to be among them.
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


def why_leaving(candidate: Candidate) -> str:
    """For people: what it gives, and what that is expected to cost."""
    frees, back = format_bytes(candidate.frees_bytes), format_seconds(candidate.reload_s)
    if candidate.busy:
        return f"it frees {frees} when its requests are answered, and takes up to {back} to come back"
    return (
        f"it frees {frees}, takes up to {back} to come back, and is wanted within a minute with a"
        f" probability of {candidate.use_probability:.0%}"
    )


def _rank(candidate: Candidate) -> tuple[float, int, str]:
    """Seconds lost per byte; of equal ones the largest first."""
    return candidate.lost_s / candidate.frees_bytes, -candidate.frees_bytes, candidate.model


def _needed(chosen: list[Candidate], spare_bytes: int) -> list[Candidate]:
    """Without those that the others make needless, the dearest first."""
    needed = chosen
    for each in sorted(chosen, key=lambda one: (-one.lost_s, one.model)):
        if each.frees_bytes > spare_bytes:
            continue
        others = [one for one in needed if one is not each]
        left_bytes = spare_bytes - each.frees_bytes
        saved_s = _PAGES_KEPT_SHARE * (_pages_s(others, spare_bytes) - _pages_s(others, left_bytes))
        if saved_s <= each.lost_s:
            needed, spare_bytes = others, left_bytes
    return needed


def _pages_s(leaving: list[Candidate], room_bytes: int) -> float:
    """What the pages that they leave behind save, if so many bytes are kept: the most worth first."""
    saved_s = 0.0
    for each in sorted(leaving, key=lambda one: -one.page_worth_s):
        kept_bytes = min(room_bytes, each.pages_bytes)
        saved_s += kept_bytes * each.page_worth_s
        room_bytes -= kept_bytes
    return saved_s
