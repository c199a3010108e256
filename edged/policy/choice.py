"""The ways in which one model could be loaded, what each costs, and the cheapest that fits.

The cost of a way, compared in this order:
1. by how much it would be ready later than `loading.start_budget` allows;
2. how far its settings were shrunk;
3. when a request that comes at the very start is answered, of which differences that nobody notices count
   as none;
4. how long a request waits that comes when the model says it is ready, likewise;
5. whether a warm-up has shown that the model computes before it says that it is ready.
Weights are repacked only where that pays (`repacking`).
So a model warms up when the budget allows it (the first answer is hardly later for it, and none is slow),
streams when the storage is too slow for that, and is paged from storage (`lazy`) only when its file does not
fit.
`locked` is chosen by the user alone: locked pages are lost to everything else on the machine, and most
machines allow a process only a few MiB of them.
"""

import math
from collections.abc import Iterator

import msgspec

from edged.hw.snapshot import HardwareSnapshot
from edged.policy.repacking import WORTH_REQUESTS, Repacking, repacking_of
from edged.policy.settings import Level, Settings, impossible, kind_of, larger, level_of, levels
from edged.policy.timing import Company, Reading, Timing, reading_of, timing_of
from edged.policy.types import Kind, LoadTimes, Measured, ModelInput, PlanSettings, Strategy

# First answers that differ by less are the same to whoever waits for them, and for the predictions, too.
UNNOTICED_SHARE = 0.05
UNNOTICED_S = 0.02

NO_LAZY_MAP = (
    "the lazy map is not there, since no C compiler was found when edged was installed "
    "(install gcc and run the installation again)"
)


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """One model with everything that the choice rests on."""

    model: ModelInput
    kind: Kind
    levels: tuple[Level, ...]
    instruction_sets: tuple[str, ...]
    reading: Reading
    settings: PlanSettings
    measured: Measured
    conflict: str | None  # why what the user fixed cannot work at all
    company: Company
    repacking: Repacking | None = None  # None: the user has decided, or there is nothing to repack

    def level_of(self, settings: Settings) -> Level:
        """Other settings of this model with what they take."""
        base_bytes = _base_bytes(self.model, self.measured)
        return level_of(self.model, self.kind, self.instruction_sets, settings, base_bytes)

    @property
    def starts(self) -> bool:
        """Whether the user wants it loaded when edged starts."""
        return self.model.model.preload and self.model.model.strategy != "on_demand"

    @property
    def unrepacked(self) -> "Prospect":
        """The same without the choice to repack."""
        if self.repacking is None or not self.levels[0].settings.repack:
            return self
        return msgspec.structs.replace(self, levels=self.levels[1:])


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to load a model. `paged`: its file need not fit, only its anonymous memory must."""

    strategy: Strategy
    level: Level
    paged: bool
    timing: Timing
    n_shrunk: int

    @property
    def need_bytes(self) -> int:
        """The memory that this way must have."""
        return self.level.footprint.anon_bytes if self.paged else self.level.resident_bytes


def prospect_of(
    snapshot: HardwareSnapshot, model: ModelInput, settings: PlanSettings, measured: Measured
) -> Prospect:
    """Everything about one model that does not depend on the others."""
    kind = kind_of(model)
    fixed = model.model.strategy
    conflict = impossible(model, kind)
    if conflict is None and fixed in ("lazy", "stream") and not settings.lazy_available:
        conflict = (
            f"strategy {fixed} is not possible: {NO_LAZY_MAP}; or set models.{model.id}.strategy to auto"
        )
    repacking = None
    if model.model.repack == "auto":
        repacking = repacking_of(model.header, kind, snapshot.cpu, settings.llama_build, measured)
    prospect = Prospect(
        model=model,
        kind=kind,
        levels=levels(model, kind, snapshot.cpu.instruction_sets, _base_bytes(model, measured)),
        instruction_sets=snapshot.cpu.instruction_sets,
        reading=reading_of(snapshot, model, kind, settings, measured),
        settings=settings,
        measured=measured,
        conflict=conflict,
        company=Company(cores=snapshot.cpu.usable_cores),
        repacking=repacking,
    )
    return prospect if repacking is None or repacking.pays else prospect.unrepacked


def _base_bytes(model: ModelInput, measured: Measured) -> int | None:
    return measured.models.get(model.path, LoadTimes()).base_bytes


def ways(prospect: Prospect, at_start: bool) -> tuple[Way, ...]:
    """Every way that the configuration and this installation allow."""
    return tuple(
        Way(
            strategy=strategy,
            level=level,
            paged=paged,
            timing=timing_of(
                prospect.model,
                strategy,
                level,
                prospect.reading,
                prospect.settings,
                prospect.measured,
                prospect.company,
            ),
            n_shrunk=n_shrunk,
        )
        for strategy, level, paged, n_shrunk in _possible(prospect, at_start)
    )


def cheapest(prospect: Prospect, at_start: bool, room_bytes: int) -> Way | None:
    """The best way that fits into `room_bytes`, or None."""
    budget_s = prospect.settings.loading.start_budget if at_start else math.inf
    fitting = [way for way in ways(prospect, at_start) if way.need_bytes <= room_bytes]
    if not fitting:
        return None
    fitting = _worth_it(prospect, fitting)
    least = min(_pain(way, budget_s) for way in fitting)
    equal = [way for way in fitting if _pain(way, budget_s) == least]
    in_time_s = min(_first_s(way) for way in equal) * (1.0 + UNNOTICED_SHARE) + UNNOTICED_S
    in_time = [way for way in equal if _first_s(way) <= in_time_s]
    short_s = min(_wait_s(way) for way in in_time) + UNNOTICED_S
    best = next(way for way in in_time if _wait_s(way) <= short_s)
    return _unshrunk(prospect, best, room_bytes)


def _worth_it(prospect: Prospect, found: list[Way]) -> list[Way]:
    """Without the ways whose repacking puts off the first answer by more than it then saves."""
    plain_s = min((_first_s(way) for way in found if not way.level.settings.repack), default=math.inf)
    if prospect.repacking is None or math.isinf(plain_s):
        return found
    latest_s = plain_s + WORTH_REQUESTS * prospect.repacking.saved_s
    return [way for way in found if not way.level.settings.repack or _first_s(way) <= latest_s]


def smallest_bytes(prospect: Prospect, at_start: bool, room_bytes: int, most_bytes: int) -> int | None:
    """The least that a model takes: with its file where that fits into the room, else without; else None.

    None also where it would have to be paged, but would not if others made all of `most_bytes` free for it:
    every token then reads storage, and loading it instead of others takes no longer than a few of them.
    """
    possible = ways(prospect, at_start)
    whole = [way.need_bytes for way in possible if not way.paged]
    fitting = [need_bytes for need_bytes in whole if need_bytes <= room_bytes]
    if fitting:
        return min(fitting)
    if prospect.model.model.strategy != "lazy" and any(need_bytes <= most_bytes for need_bytes in whole):
        return None
    return min((way.need_bytes for way in possible if way.need_bytes <= room_bytes), default=None)


def _unshrunk(prospect: Prospect, way: Way, room_bytes: int) -> Way:
    """Take back what proved needless: the last step alone may have saved enough.

    Not where the choice came down to paging, since the file uses all the room that is left.
    """
    if prospect.kind != "generate" or (way.paged and prospect.model.model.strategy != "lazy"):
        return way
    full = prospect.levels[0].settings
    while True:
        tries = (
            msgspec.structs.replace(way, level=prospect.level_of(settings))
            for settings in larger(full, way.level.settings)
        )
        better = next((better for better in tries if better.need_bytes <= room_bytes), None)
        if better is None:
            return way
        way = better


def _pain(way: Way, start_budget_s: float) -> tuple[float, int]:
    """How late it is ready, and how far it is shrunk."""
    ready_s = math.inf if way.timing.ready_s is None else way.timing.ready_s
    late_s = max(0.0, ready_s - start_budget_s) if math.isfinite(start_budget_s) else 0.0
    return round(late_s, 3), way.n_shrunk


def _first_s(way: Way) -> float:
    return math.inf if way.timing.first_answer_s is None else way.timing.first_answer_s


def _wait_s(way: Way) -> float:
    """How long a request waits that comes when the model says it is ready."""
    ready_s = math.inf if way.timing.ready_s is None else way.timing.ready_s
    return _first_s(way) - ready_s if math.isfinite(ready_s) else 0.0


def _possible(prospect: Prospect, at_start: bool) -> Iterator[tuple[Strategy, Level, bool, int]]:
    """(strategy, level, paged, how far it is shrunk), of equal ones the best first.

    A file that does not fit is worse than any shrinking, since then every token reads it again: so `auto`
    pages only with the smallest settings, which leave the file the most room.
    """
    fixed, lazy_available = prospect.model.model.strategy, prospect.settings.lazy_available
    repack_is_free = prospect.model.model.repack == "auto"
    last = len(prospect.levels) - 1
    for index, level in enumerate(prospect.levels):
        repacks = level.settings.repack
        if fixed in ("warm", "stream", "lazy", "locked"):
            if not (repacks and fixed in ("stream", "lazy")):
                yield fixed, level, fixed == "lazy", index
            continue
        pages = lazy_available and not repacks and index == last
        if at_start:
            yield "warm", level, False, index
            if lazy_available and not repacks:
                # Without reading ahead, serving at once means that pages come as they are touched.
                yield ("stream" if prospect.settings.loading.prefetch else "lazy"), level, False, index
            if pages:
                yield "lazy", level, True, last + 1
        else:
            if not (repacks and repack_is_free):  # a request is waiting: repacking would only delay it
                yield "on_demand", level, False, index
            if pages:
                yield "on_demand", level, True, last + 1
