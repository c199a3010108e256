"""How every model is loaded on this machine: a pure function from facts and settings to decisions.

Models that start with edged share the budget. In the order of the configuration each is granted the least
that it can run with, its file in the page cache if that fits. What is then left is divided equally among
those that could use more. Copies of repacked weights come last: they get what no model, those loaded on
demand included, has another use for. So two models that fit are both in memory, somewhat shrunk, rather than
one in full and the other not at all; where not all fit, pinned ones win, then the first ones named. One whose
file would have to be paged beside them does not fit, if it would not be paged in their place.

The others are loaded on demand. Where settings that serve as well fit beside those that start, they get them,
and nobody has to leave. Else they are planned for all the memory that is not pinned: others leave for them.
"""

from collections.abc import Mapping, Sequence

import msgspec

from edged.config.units import format_bytes
from edged.gguf.layout import FileSpan, prefetch_ranges, random_access_ranges
from edged.gguf.repack import replaced_tensors
from edged.hw.snapshot import CpuFacts, HardwareSnapshot
from edged.policy.choice import Prospect, Way, cheapest, prospect_of, smallest_bytes
from edged.policy.memory import UNLIMITED_BYTES, Budget, budget_of, divided
from edged.policy.pinning import pinned_spans
from edged.policy.reasons import pinning_reasons, reasons, shrunk, thread_reasons
from edged.policy.refusal import refusal
from edged.policy.timing import Timing, in_turn
from edged.policy.types import ByteRange, LoadPlan, Measured, ModelInput, PlanSettings, Prediction


def plan(
    snapshot: HardwareSnapshot,
    models: Sequence[ModelInput],
    settings: PlanSettings,
    measured: Measured = Measured(),  # noqa: B008  # frozen
) -> tuple[LoadPlan, ...]:
    """One plan for each model, in their order. Deterministic; raises nothing for any combination of facts."""
    budget = budget_of(snapshot.memory, settings.memory)
    prospects = [prospect_of(snapshot, model, settings, measured) for model in models]
    starting = _in_company(
        snapshot, [prospect for prospect in prospects if prospect.starts and prospect.conflict is None]
    )
    starting.sort(key=lambda prospect: not prospect.model.model.pinned)
    found, used_bytes = _together(snapshot, [prospect.unrepacked for prospect in starting], budget)
    left_bytes = max(0, budget.total_bytes - used_bytes)
    pinned = {
        model.id: _need_bytes(found[model.id]) for model in models if model.id in found and model.model.pinned
    }
    apart = {
        prospect.model.id: _apart(snapshot, prospect, budget.beside(pinned), left_bytes)
        for prospect in prospects
        if prospect.model.id not in found
    }
    kept_bytes = max((_need_bytes(plan) for plan in apart.values() if _is_beside(plan)), default=0)
    spare_bytes = max(0, left_bytes - kept_bytes)
    found |= apart | _repacked(snapshot, starting, found, budget, spare_bytes)
    return tuple(found[prospect.model.id] for prospect in prospects)


def _in_company(snapshot: HardwareSnapshot, starting: Sequence[Prospect]) -> list[Prospect]:
    """The models that load at the same time, taking turns at their storage and sharing the cores."""
    by_storage: dict[str, list[Prospect]] = {}
    for prospect in starting:
        storage = snapshot.storage_of(prospect.model.path)
        if prospect.model.model.strategy != "lazy":  # which has no reader
            by_storage.setdefault(storage.path if storage else "", []).append(prospect)
    readings = {
        prospect.model.id: reading
        for group in by_storage.values()
        for prospect, reading in zip(group, in_turn([one.reading for one in group]), strict=True)
    }
    return [
        msgspec.structs.replace(
            prospect,
            company=msgspec.structs.replace(prospect.company, n_loading=len(starting)),
            reading=readings.get(prospect.model.id, prospect.reading),
        )
        for prospect in starting
    ]


def _together(
    snapshot: HardwareSnapshot, starting: Sequence[Prospect], budget: Budget
) -> tuple[dict[str, LoadPlan], int]:
    """Plans for the models that are in memory at the same time, and the memory that they take."""
    granted: list[tuple[Prospect, int]] = []
    left_bytes, pinned_bytes = budget.total_bytes, 0
    for prospect in starting:
        least_bytes = smallest_bytes(prospect, True, left_bytes, budget.total_bytes - pinned_bytes)
        if least_bytes is not None:
            granted.append((prospect, least_bytes))
            left_bytes -= least_bytes
            pinned_bytes += least_bytes if prospect.model.model.pinned else 0
    extras = divided(left_bytes, [_more_bytes(prospect, least) for prospect, least in granted])
    shared = [
        (prospect, _way(prospect, least_bytes + extra_bytes).need_bytes)
        for (prospect, least_bytes), extra_bytes in zip(granted, extras, strict=True)
    ]
    # Settings come in steps: what one does not use of its share, the first that can use it gets.
    unused_bytes = budget.total_bytes - sum(need_bytes for _, need_bytes in shared)
    found: dict[str, LoadPlan] = {}
    for prospect, need_bytes in shared:
        room_bytes = need_bytes + unused_bytes
        way = _way(prospect, room_bytes)
        one = _load_plan(snapshot, prospect, way, budget, room_bytes, "")
        unused_bytes = room_bytes - way.need_bytes - (one.mlock_bytes if way.paged else 0)
        found[prospect.model.id] = one
    return found, budget.total_bytes - unused_bytes


def _repacked(
    snapshot: HardwareSnapshot,
    starting: Sequence[Prospect],
    found: Mapping[str, LoadPlan],
    budget: Budget,
    spare_bytes: int,
) -> dict[str, LoadPlan]:
    """New plans for those of the models in memory whose weights could be repacked."""
    again = {}
    for prospect in starting:
        plan = found.get(prospect.model.id)
        if plan is None or plan.strategy == "lazy" or prospect.unrepacked is prospect:
            continue
        room_bytes = _need_bytes(plan) + spare_bytes
        way = _way(prospect, room_bytes)
        spare_bytes = room_bytes - way.need_bytes
        again[prospect.model.id] = _load_plan(snapshot, prospect, way, budget, room_bytes, "")
    return again


def _need_bytes(plan: LoadPlan) -> int:
    return plan.predicted.file_bytes + plan.predicted.anon_bytes


def _is_beside(plan: LoadPlan) -> bool:
    return plan.strategy != "refused" and not plan.makes_room


def _way(prospect: Prospect, room_bytes: int) -> Way:
    way = cheapest(prospect, True, room_bytes)
    assert way is not None, "what was granted fits"
    return way


def _more_bytes(prospect: Prospect, least_bytes: int) -> int:
    """What a model could use beyond the least."""
    wanted = cheapest(prospect, True, UNLIMITED_BYTES)
    return max(0, wanted.need_bytes - least_bytes) if wanted is not None else 0


def _apart(snapshot: HardwareSnapshot, prospect: Prospect, freed: Budget, left_bytes: int) -> LoadPlan:
    """A model that is not loaded at the start.

    `freed` is what there is when all leave that may, `left_bytes` what those that start leave.
    """
    if prospect.conflict is not None:
        return _refused(snapshot, prospect, freed)
    most = cheapest(prospect, False, freed.total_bytes)
    if most is None:
        return _refused(snapshot, prospect, freed)
    beside = cheapest(prospect, False, left_bytes)
    fits_beside = beside is not None and _serves_as_well(prospect, beside, most)
    way = beside if beside is not None and fits_beside else most
    room_bytes = left_bytes if fits_beside else freed.total_bytes
    why = _not_at_start(prospect, way, left_bytes, fits_beside=fits_beside)
    found = _load_plan(snapshot, prospect, way, freed, room_bytes, why)
    return msgspec.structs.replace(found, makes_room=not fits_beside)


def _serves_as_well(prospect: Prospect, smaller: Way, larger: Way) -> bool:
    """Whether who asks one thing at a time is no worse off: all of the context, and a file not paged."""
    pages = smaller.paged and prospect.model.model.strategy != "lazy"
    return not pages and smaller.level.settings.n_ctx == larger.level.settings.n_ctx


def _not_at_start(prospect: Prospect, way: Way, left_bytes: int, *, fits_beside: bool) -> str:
    model = prospect.model.model
    if prospect.starts:
        why = "it does not fit beside the models that come before it"
    elif model.strategy == "on_demand":
        why = "strategy is set to on_demand"
    else:
        why = "preload is off"
    if fits_beside:
        return f"{why}: it is loaded when a request asks for it, beside the others"
    return (
        f"{why}: it is loaded when a request asks for it, and others are unloaded for it, since it needs "
        f"{format_bytes(way.need_bytes)} and those loaded at start leave {format_bytes(left_bytes)}"
    )


def _load_plan(
    snapshot: HardwareSnapshot,
    prospect: Prospect,
    way: Way,
    budget: Budget,
    room_bytes: int,
    not_at_start: str,
) -> LoadPlan:
    at_start = not not_at_start
    pinned = _pinned(snapshot, prospect, way, room_bytes)
    reads_ahead = prospect.settings.loading.prefetch and way.strategy != "lazy" and not way.paged
    wanted = prefetch_ranges(prospect.model.header, prospect.kind) if reads_ahead else pinned
    pinned_bytes = sum(span.length for span in (wanted if way.strategy == "locked" else pinned))
    why = (
        *reasons(prospect, way, budget, room_bytes, not_at_start),
        *pinning_reasons(prospect, way, pinned_bytes),
    )
    draft = _draft(snapshot.cpu, prospect, way, why)
    return msgspec.structs.replace(
        draft,
        load_at_start=at_start,
        prefetch=_ranges(wanted),
        random_access=_ranges(random_access_ranges(prospect.model.header, prospect.kind)),
        replaced=_ranges(_replaced(prospect)) if draft.repack else (),
        mlock_bytes=pinned_bytes,
        shrunk=tuple(shrunk(prospect, way)),
        pass_waits=reads_ahead and prospect.reading.faults_are_slow,
    )


def _replaced(prospect: Prospect) -> list[FileSpan]:
    tensors = replaced_tensors(prospect.model.header, prospect.instruction_sets)
    return [FileSpan(tensor.offset, tensor.size_bytes) for tensor in tensors]


def _pinned(
    snapshot: HardwareSnapshot, prospect: Prospect, way: Way, room_bytes: int
) -> tuple[FileSpan, ...]:
    """What is kept of a file that is paged because it does not fit."""
    if not way.paged or way.level.resident_bytes <= room_bytes or prospect.kind != "generate":
        return ()
    storage = snapshot.storage_of(prospect.model.path)
    readahead_bytes = (storage.readahead_bytes if storage else None) or 0
    spans = prefetch_ranges(prospect.model.header, prospect.kind)
    return pinned_spans(spans, room_bytes, way.level.footprint.anon_bytes, readahead_bytes)


def _refused(snapshot: HardwareSnapshot, prospect: Prospect, budget: Budget) -> LoadPlan:
    why = refusal(snapshot, prospect, budget, prospect.starts)
    smallest = Way(
        strategy="refused",
        level=prospect.levels[-1],
        paged=False,
        timing=Timing(ready_s=None, first_answer_s=None),
        n_shrunk=0,
    )
    return _draft(snapshot.cpu, prospect, smallest, (why,))


def _draft(cpu: CpuFacts, prospect: Prospect, way: Way, why: tuple[str, ...]) -> LoadPlan:
    chosen, fixed = way.level.settings, prospect.model.model.n_threads
    n_threads = fixed if fixed != "auto" else _n_threads(cpu)
    return LoadPlan(
        model=prospect.model.id,
        path=prospect.model.path,
        kind=prospect.kind,
        strategy=way.strategy,
        load_at_start=False,
        paged=way.paged,
        repack=chosen.repack,
        n_ctx=chosen.n_ctx,
        n_seq_max=chosen.n_seq_max,
        n_batch=chosen.n_batch,
        n_ubatch=chosen.n_ubatch,
        type_k=chosen.type_k,
        type_v=chosen.type_v,
        n_threads=n_threads,
        adapt_threads=fixed == "auto",
        prefetch=(),
        random_access=(),
        mlock_bytes=0,
        predicted=Prediction(
            file_bytes=way.level.footprint.file_bytes,
            anon_bytes=way.level.footprint.anon_bytes,
            loaded_anon_bytes=way.level.loaded_anon_bytes(prospect.kind),
            base_bytes=way.level.footprint.base_bytes,
            ready_s=way.timing.ready_s,
            first_answer_s=way.timing.first_answer_s,
            started_s=way.timing.started_s,
            batch_s=way.timing.batch_s,
            read_bytes_per_s=prospect.reading.bytes_per_s,
        ),
        reasons=(*why, *thread_reasons(n_threads, fixed != "auto", cpu)),
    )


def _n_threads(cpu: CpuFacts) -> int:
    """One for each core: more threads than cores wait for each other at every step."""
    cores = [n for n in (cpu.performance_cores, cpu.usable_cores or cpu.logical_cores) if n is not None]
    return max(1, min(cores, default=1))


def _ranges(spans: Sequence[FileSpan]) -> tuple[ByteRange, ...]:
    return tuple(ByteRange(span.offset, span.length) for span in spans)
