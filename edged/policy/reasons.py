"""Why a model is loaded as it is, in sentences with numbers."""

from collections.abc import Iterator

from edged.config.units import format_bytes, format_rate, format_seconds
from edged.hw.snapshot import CpuFacts
from edged.policy.choice import NO_LAZY_MAP, Prospect, Way
from edged.policy.memory import Budget
from edged.policy.repacking import Repacking
from edged.policy.timing import REPACK_BYTES_PER_S, Timing, timing_of
from edged.policy.types import LoadTimes


def reasons(
    prospect: Prospect, way: Way, budget: Budget, room_bytes: int, not_at_start: str
) -> Iterator[str]:
    """Strategy, memory, what was shrunk, what is unknown; first, why it is not loaded at start."""
    if not_at_start:
        yield not_at_start
    yield _strategy(prospect, way, at_start=not not_at_start)
    yield _memory(way, budget)
    if prospect.kind == "generate" and not prospect.model.header.has_chat_template:
        yield "its file has no chat template: its control tokens choose one, or chat is refused"
    if prospect.model.weights_reason:
        yield prospect.model.weights_reason
    yield from _repack(prospect, way, room_bytes)
    if changes := shrunk(prospect, way):
        full = format_bytes(prospect.levels[0].resident_bytes)
        yield f"full settings need {full}, but {_room(budget, room_bytes)}, so: {', '.join(changes)}"
    if way.strategy == "stream" and prospect.reading.uncached_bytes and prospect.reading.faults_are_slow:
        yield "this storage is slow at reads here and there: nothing computes before the file is read"
    yield from _unknown(prospect, budget)


def thread_reasons(n_threads: int, fixed: bool, cpu: CpuFacts) -> Iterator[str]:
    """What is worth saying about the number of compute threads."""
    usable = cpu.usable_cores
    if fixed and usable is not None and n_threads > usable:
        yield (
            f"n_threads {n_threads} is more than the {usable} cores that may be used: threads that wait for "
            "each other are slower than fewer threads"
        )
    if not fixed and cpu.performance_cores is not None and n_threads == cpu.performance_cores:
        yield f"{n_threads} compute threads, one for each performance core: slower cores would hold them up"


def pinning_reasons(prospect: Prospect, way: Way, pinned_bytes: int) -> Iterator[str]:
    """What is kept of a file that does not fit, and what every token reads again."""
    if not way.paged or (prospect.model.model.strategy == "lazy" and not pinned_bytes):
        return
    if pinned_bytes:
        yield f"{format_bytes(pinned_bytes)} of its weights are pinned: what is used again and again stays"
    rest_bytes = max(0, prospect.reading.wanted_bytes - pinned_bytes)
    if prospect.kind == "generate" and prospect.reading.bytes_per_s is not None:
        again_s = rest_bytes / prospect.reading.bytes_per_s
        yield (
            f"a token may take as long as reading the other {format_bytes(rest_bytes)} again, "
            f"{format_seconds(again_s)}"
        )


def reading_text(prospect: Prospect) -> str:
    """What has to be read and how long that takes."""
    reading = prospect.reading
    if reading.uncached_bytes == 0:
        return f"all {format_bytes(reading.wanted_bytes)} of the file that it uses are in the page cache"
    duration_s = reading.sequential_s
    if duration_s is None or reading.bytes_per_s is None:
        return f"how fast {format_bytes(reading.uncached_bytes)} can be read from this storage is unknown"
    beside = f", after {format_bytes(reading.before_bytes)} for other models," if reading.before_bytes else ""
    return (
        f"reading {format_bytes(reading.uncached_bytes)} that are not cached{beside} takes "
        f"{format_seconds(duration_s)} at {format_rate(reading.bytes_per_s)}"
    )


def _strategy(prospect: Prospect, way: Way, at_start: bool) -> str:
    model = prospect.model.model
    reads = reading_text(prospect)
    if way.strategy in ("warm", "locked"):
        return _warm(prospect, way, at_start)
    if way.paged and model.strategy != "lazy":
        return (
            f"even with the smallest settings there is no room for all {_file(way)} of weights beside "
            f"{_anon(way)} of anonymous memory: pages come as they are touched and may be dropped again"
        )
    if way.strategy == "on_demand":
        return f"{reads}; when a request asks for it, it answers as soon as what it needs is read"
    if way.strategy == "lazy":
        why = "strategy is set to lazy" if model.strategy == "lazy" else "loading.prefetch is off"
        return f"{why}: pages come as they are touched"
    if model.strategy == "stream":
        return f"strategy is set to stream: {reads}, and it serves at once while that happens"
    warm = timing_of(
        prospect.model, "warm", way.level, prospect.reading, prospect.settings, prospect.measured
    )
    return f"{reads}{_why_not_warm(prospect, way, warm)}: it serves at once while the file is read behind it"


def _why_not_warm(prospect: Prospect, way: Way, warm: Timing) -> str:
    if warm.ready_s is None or warm.first_answer_s is None or way.timing.first_answer_s is None:
        return ""
    if warm.ready_s > prospect.settings.loading.start_budget:
        took = format_seconds(warm.ready_s)
        return f", so warming up would take {took}, more than {_start_budget(prospect)}"
    later_s = max(0.0, warm.first_answer_s - way.timing.first_answer_s)
    return f", and a warm-up would put off an early request's answer by {format_seconds(later_s)}"


def _warm(prospect: Prospect, way: Way, at_start: bool) -> str:
    reads, ready_s, strategy = reading_text(prospect), way.timing.ready_s, prospect.model.model.strategy
    chosen = f"strategy is set to {strategy}" if strategy != "auto" else NO_LAZY_MAP
    locks = ", and its pages are locked in memory" if way.strategy == "locked" else ""
    if ready_s is None:
        return f"{reads}; it still warms up first, because {chosen}{locks}"
    if not at_start or ready_s <= prospect.settings.loading.start_budget:
        within = f", within {_start_budget(prospect)}" if at_start else ""
        return f"{reads}, so it is warm and ready after {format_seconds(ready_s)}{within}{locks}"
    return (
        f"{reads}, so it is ready only after {format_seconds(ready_s)}, over {_start_budget(prospect)}; "
        f"it still warms up first, because {chosen}{locks}"
    )


def _memory(way: Way, budget: Budget) -> str:
    anon, file = _anon(way), _file(way)
    if way.paged:
        return f"needs {anon} of anonymous memory; its {file} of weights use what is left of {budget.text}"
    whole = format_bytes(way.level.resident_bytes)
    if not budget.is_known:
        return f"needs {whole} ({anon} anonymous, {file} of its file); {budget.origin}, so nothing is shrunk"
    return f"needs {whole} ({anon} anonymous, {file} of its file) of {budget.text}"


def _repack(prospect: Prospect, way: Way, room_bytes: int) -> Iterator[str]:
    repacking = prospect.repacking
    if repacking is None:
        return
    gain, copied_bytes = _repack_text(repacking), repacking.copied_bytes
    if way.level.settings.repack:
        took = format_seconds(max(0.0, _repack_s(prospect, way)))
        yield f"repack on: {gain}, for {format_bytes(copied_bytes)} of copies and {took} at load"
    elif not repacking.pays:
        yield f"repack off: {gain}, not worth {format_bytes(copied_bytes)} of copies"
    elif way.strategy not in ("warm", "locked"):
        yield f"repack off: repacking would read all weights before the first answer ({gain})"
    elif prospect.levels[0].resident_bytes > room_bytes:
        yield f"repack off: there is no room for {format_bytes(copied_bytes)} of copies ({gain})"
    else:
        yield f"repack off: with {format_bytes(copied_bytes)} to copy it would be ready later ({gain})"


def _repack_text(repacking: Repacking) -> str:
    """How much faster prompts are with it, and how that is known."""
    types = ", ".join(f"{name} x{ratio:.2f}" for name, ratio in repacking.types)
    how = "measured on this CPU" if not repacking.not_measured else "not yet measured on this CPU"
    return f"prompt speed x{repacking.prompt_ratio:.2f} ({types}, {how})"


def _repack_s(prospect: Prospect, way: Way) -> float:
    """What repacking adds to the load, before any of it hides behind reading."""
    times = prospect.measured.models.get(prospect.model.path, LoadTimes())
    if times.load_s is not None and times.load_repacked_s is not None:
        return times.load_repacked_s - times.load_s
    return way.level.footprint.repack_bytes / REPACK_BYTES_PER_S


def _unknown(prospect: Prospect, budget: Budget) -> Iterator[str]:
    if not prospect.reading.cached_is_known:
        yield "how much of its file is in the page cache is unknown, so none is assumed to be"
    if prospect.reading.uncached_bytes and prospect.reading.rate_reason:
        yield prospect.reading.rate_reason
    header, n_ctx = prospect.model.header, prospect.model.model.n_ctx
    if n_ctx != "auto" and n_ctx > header.n_ctx_train:
        yield f"n_ctx {n_ctx} is beyond the {header.n_ctx_train} tokens it was trained on: answers get worse"
    if not budget.is_known:
        yield "memory is not watched here: set memory.budget to keep models within a size"


def shrunk(prospect: Prospect, way: Way) -> list[str]:
    """What is smaller than one would like; repacking has reasons of its own."""
    full, now = prospect.levels[0].settings, way.level.settings
    return [
        f"{name} {getattr(full, name)} → {getattr(now, name)}"
        for name in full.__struct_fields__
        if name != "repack" and getattr(full, name) != getattr(now, name)
    ]


def _room(budget: Budget, room_bytes: int) -> str:
    if room_bytes < budget.total_bytes:
        return f"{format_bytes(room_bytes)} of {budget.text} are its share"
    return f"there are {budget.text}"


def _anon(way: Way) -> str:
    return format_bytes(way.level.footprint.anon_bytes)


def _file(way: Way) -> str:
    return format_bytes(way.level.footprint.file_bytes)


def _start_budget(prospect: Prospect) -> str:
    return f"loading.start_budget ({format_seconds(prospect.settings.loading.start_budget)})"
