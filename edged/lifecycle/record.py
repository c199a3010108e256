"""What became of the plans: logged, counted, and kept for the next start's predictions."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import msgspec

from edged.config.units import format_rate
from edged.hw.snapshot import HardwareSnapshot
from edged.lifecycle.calibration import MIN_RATE_BYTES, MIN_RATE_S, Calibration, Measurement
from edged.lifecycle.status import JUST_PLANNED, Cause, Failure, UnloadCause, seconds
from edged.policy.types import LoadPlan, Measured, RepackGain
from edged.runner import protocol

log = logging.getLogger(__name__)

FAILURE_EVENTS: dict[Failure, str] = {
    "file": "model_failed",
    "crash": "runner_crashed",
    "hung": "runner_hung",
    "memory": "runner_oom_killed",
    "room": "model_refused",
}
_SLOW_SHARE = 0.5  # of the rate that the plan counted on
_KEPT_UNTIL_COUNTED = 200
_LAPS_AFTER_MAPPING = ("context_s", "prefetch_wait_s", "warmup_s")


class Counter(Protocol):
    """The metrics that loads and failures go to."""

    def cold_start(
        self,
        model: str,
        cause: Cause,
        phase: Literal["mapped", "ready", "first_token"],
        duration_s: float,
    ) -> None:
        """A load has reached a phase."""

    def read(
        self,
        model: str,
        cause: Cause,
        phase: Literal["ready", "first_token"],
        read_bytes: int | None,
        major_faults: int,
    ) -> None:
        """What a load has read until a phase."""

    def foreseen(
        self, model: str, kind: Literal["ready", "first_answer"], predicted_s: float, measured_s: float
    ) -> None:
        """A measured time beside the one that the plan had said."""

    def restarted(self, model: str) -> None:
        """A runner died and is started again."""

    def unloaded(self, model: str, cause: UnloadCause) -> None:
        """A model's memory was freed."""

    def strained(self, step: str, level: int, *, risen: bool) -> None:
        """Another step against memory pressure is in force."""

    def pressed(self, stalled_share: float, short_bytes: int) -> None:
        """What was last seen of memory pressure."""


class _Load(msgspec.Struct, frozen=True, kw_only=True):
    """The last load of a model."""

    plan: LoadPlan
    cause: Cause
    foreseen: (
        bool  # the first one by its plan: a later one finds the file cached, of which the plan knew nothing
    )


class Record:
    """The observer of every runner. Metrics may come later than the first loads; nothing is lost by that."""

    def __init__(self, calibration: Calibration) -> None:
        self._lock = threading.Lock()
        self._calibration = calibration
        self._snapshot: HardwareSnapshot | None = None
        self._counter: Counter | None = None
        self._loads: dict[str, _Load] = {}
        self._uncounted: deque[Callable[[Counter], None]] = deque(maxlen=_KEPT_UNTIL_COUNTED)
        # its own thread: those who call here pass tokens on, and a card that is being read syncs slowly
        self._writer = ThreadPoolExecutor(1, "calibration")

    def close(self) -> None:
        """Return when everything is written. Nothing may be told after this."""
        self._writer.shutdown()

    def measured(self) -> Measured:
        """What earlier loads took, for planning."""
        with self._lock:
            return self._calibration.measured()

    def planned_on(self, snapshot: HardwareSnapshot) -> None:
        """The facts that the plans rest on."""
        with self._lock:
            self._snapshot = snapshot

    def count_with(self, counter: Counter) -> None:
        """Count from now on with `counter`, what has already happened included."""
        with self._lock:
            self._counter = counter
            for count in self._uncounted:
                count(counter)
            self._uncounted.clear()

    def ready(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        """A model answers from now on."""
        log.info(
            "%s: ready after %s (predicted %s, %s, %s)",
            plan.model, seconds(ready_s), seconds(plan.predicted.ready_s), plan.strategy, cause,
            extra={
                "EVENT": "runner_restarted" if cause in ("crash", "hung") else "model_ready",
                "MODEL": plan.model, "STRATEGY": plan.strategy, "DURATION_MS": round(ready_s * 1000),
            },
        )  # fmt: skip
        if not ready.lazy_map and plan.strategy in ("lazy", "stream"):
            log.warning(
                "%s: the lazy map was not preloaded: llama.cpp read the whole file at once", plan.model
            )
        self._count_load(self._begin(plan, cause), ready, ready_s)
        self._keep(plan, cause, ready, ready_s)

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """The first answer after a load."""
        log.info(
            "%s: first answer %s after the load began (predicted %s)",
            plan.model, seconds(first_answer_s), seconds(plan.predicted.first_answer_s),
            extra={"MODEL": plan.model, "DURATION_MS": round(first_answer_s * 1000)},
        )  # fmt: skip
        with self._lock:
            load = self._loads.get(plan.model)
            self._calibration.record_first_answer(plan, first_answer_s)
            self._store()
        if load is not None:
            cause = load.cause
            self._count(lambda counter: counter.cold_start(plan.model, cause, "first_token", first_answer_s))
            self._compare(load, "first_answer", plan.predicted.first_answer_s, first_answer_s)

    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None:
        """What a load and its first answer have read."""
        with self._lock:
            load = self._loads.get(plan.model)
        if load is not None:
            self._count_reads(load, "first_token", reads)

    def repack_gain(self, key: str, gain: RepackGain) -> None:
        """What repacking gains on this CPU; the next plan uses it."""
        with self._lock:
            self._calibration.record_repack_gain(key, gain)
            self._store()

    def _store(self) -> None:
        """Write what is known now, soon. Under the lock."""
        self._writer.submit(self._calibration.store, self._calibration.encoded())

    def failed(self, plan: LoadPlan, reason: str, how: Failure) -> None:
        """A load failed or a runner died; it is tried again after a while."""
        fields = {"EVENT": FAILURE_EVENTS[how], "MODEL": plan.model, "STRATEGY": plan.strategy}
        level = logging.WARNING if how == "room" else logging.ERROR
        log.log(level, "%s: %s", plan.model, reason, extra=fields)
        if how != "room":
            self._count(lambda counter: counter.restarted(plan.model))

    def unloaded(self, plan: LoadPlan, cause: UnloadCause) -> None:
        """A model's memory is free."""
        fields = {"EVENT": "model_unloaded", "MODEL": plan.model, "STRATEGY": plan.strategy}
        log.info("%s: unloaded (%s)", plan.model, cause, extra=fields)
        self._count(lambda counter: counter.unloaded(plan.model, cause))

    def strained(self, step: str, level: int, *, risen: bool) -> None:
        """Another step against memory pressure is in force."""
        self._count(lambda counter: counter.strained(step, level, risen=risen))

    def pressed(self, stalled_share: float, short_bytes: int) -> None:
        """What was last seen of memory pressure."""
        self._count(lambda counter: counter.pressed(stalled_share, short_bytes))

    def _begin(self, plan: LoadPlan, cause: Cause) -> _Load:
        """Remember the load: what comes after it is told without its cause."""
        with self._lock:
            before = self._loads.get(plan.model)
            load = _Load(
                plan=plan,
                cause=cause,
                foreseen=before is None or before.plan is not plan,
            )
            self._loads[plan.model] = load
            return load

    def _count_load(self, load: _Load, ready: protocol.Ready, ready_s: float) -> None:
        model, cause, laps = load.plan.model, load.cause, ready.timings_s
        if "vocabulary_s" in laps:
            mapped_s = max(0.0, ready_s - sum(laps.get(lap, 0.0) for lap in _LAPS_AFTER_MAPPING))
            self._count(lambda counter: counter.cold_start(model, cause, "mapped", mapped_s))
        self._count(lambda counter: counter.cold_start(model, cause, "ready", ready_s))
        if ready.reads is not None:
            self._count_reads(load, "ready", ready.reads)
        self._compare(load, "ready", load.plan.predicted.ready_s, ready_s)

    def _count_reads(
        self, load: _Load, phase: Literal["ready", "first_token"], reads: protocol.Reads
    ) -> None:
        model, cause = load.plan.model, load.cause
        self._count(lambda counter: counter.read(model, cause, phase, reads.read_bytes, reads.major_faults))

    def _compare(
        self,
        load: _Load,
        kind: Literal["ready", "first_answer"],
        predicted_s: float | None,
        measured_s: float,
    ) -> None:
        if load.foreseen and predicted_s:
            self._count(lambda counter: counter.foreseen(load.plan.model, kind, predicted_s, measured_s))

    def _keep(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        with self._lock:
            file = self._snapshot.file(plan.path) if self._snapshot else None
            storage = self._snapshot.storage_of(plan.path) if self._snapshot else None
            if file is None or file.size_bytes is None:
                return  # replaced or removed since: what was measured cannot be told of which file
            cold_share = (
                None if file.cached_share is None or cause not in JUST_PLANNED else 1 - file.cached_share
            )
            wanted_bytes = sum(piece.length for piece in plan.prefetch)
            measurement = Measurement(
                size_bytes=file.size_bytes,
                device=storage.device if storage else None,
                ready_s=ready_s,
                timings_s=ready.timings_s,
                uncached_bytes=None if cold_share is None else round(cold_share * wanted_bytes),
                anon_bytes=ready.anon_bytes,
                reading_s=ready.reading_s,
            )
            self._calibration.record(plan, measurement)
            self._store()
        _warn_if_slow(plan, measurement)

    def _count(self, count: Callable[[Counter], None]) -> None:
        with self._lock:
            if self._counter is None:
                self._uncounted.append(count)
            else:
                count(self._counter)


def _warn_if_slow(plan: LoadPlan, measured: Measurement) -> None:
    """Say when the storage gave far less than the plan had counted on."""
    promised, n_bytes, read_s = plan.predicted.read_bytes_per_s, measured.uncached_bytes, measured.reading_s
    if not promised or not n_bytes or not read_s or n_bytes < MIN_RATE_BYTES or read_s < MIN_RATE_S:
        return
    if n_bytes / read_s < _SLOW_SHARE * promised:
        log.warning(
            "%s: its storage gave %s, but %s were expected; `edged doctor` looks for the cause",
            *(plan.model, format_rate(n_bytes / read_s), format_rate(promised)),
            extra={"EVENT": "storage_slow", "MODEL": plan.model, "DURATION_MS": round(read_s * 1000)},
        )
