"""What became of the plans: logged, counted, and kept for the next start's predictions."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edged.hw.snapshot import HardwareSnapshot
from edged.lifecycle.calibration import Calibration, Measurement
from edged.lifecycle.status import Cause, seconds
from edged.policy.types import LoadPlan, Measured
from edged.runner import protocol

log = logging.getLogger(__name__)

_KEPT_UNTIL_COUNTED = 100


class Counter(Protocol):
    """The metrics that loads and failures go to."""

    def loaded(self, model: str, cause: Cause, duration_s: float) -> None:
        """A model became ready."""

    def restarted(self, model: str) -> None:
        """A runner died and is started again."""


class Record:
    """The observer of every runner. Metrics may come later than the first loads; nothing is lost by that."""

    def __init__(self, calibration: Calibration) -> None:
        self._lock = threading.Lock()
        self._calibration = calibration
        self._snapshot: HardwareSnapshot | None = None
        self._counter: Counter | None = None
        self._uncounted: deque[Callable[[Counter], None]] = deque(maxlen=_KEPT_UNTIL_COUNTED)

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
            extra={"MODEL": plan.model, "STRATEGY": plan.strategy, "DURATION_MS": round(ready_s * 1000)},
        )  # fmt: skip
        if not ready.lazy_map and plan.strategy in ("lazy", "stream"):
            log.warning(
                "%s: the lazy map was not preloaded: llama.cpp read the whole file at once", plan.model
            )
        self._count(lambda counter: counter.loaded(plan.model, cause, ready_s))
        self._keep(plan, cause, ready, ready_s)

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """The first answer after a load."""
        log.info(
            "%s: first answer %s after the load began (predicted %s)",
            plan.model, seconds(first_answer_s), seconds(plan.predicted.first_answer_s),
            extra={"MODEL": plan.model, "DURATION_MS": round(first_answer_s * 1000)},
        )  # fmt: skip
        with self._lock:
            self._calibration.record_first_answer(plan, first_answer_s)
            self._calibration.save()

    def failed(self, plan: LoadPlan, reason: str) -> None:
        """A load failed or a runner died; it is tried again after a while."""
        log.error("%s: %s", plan.model, reason, extra={"MODEL": plan.model})
        self._count(lambda counter: counter.restarted(plan.model))

    def _keep(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        with self._lock:
            file = self._snapshot.file(plan.path) if self._snapshot else None
            storage = self._snapshot.storage_of(plan.path) if self._snapshot else None
            if file is None or file.size_bytes is None:
                return  # replaced or removed since: what was measured cannot be told of which file
            cold_share = None if file.cached_share is None or cause != "boot" else 1 - file.cached_share
            wanted_bytes = sum(piece.length for piece in plan.prefetch)
            measurement = Measurement(
                size_bytes=file.size_bytes,
                device=storage.device if storage else None,
                ready_s=ready_s,
                timings_s=ready.timings_s,
                uncached_bytes=None if cold_share is None else round(cold_share * wanted_bytes),
            )
            self._calibration.record(plan, measurement)
            self._calibration.save()

    def _count(self, count: Callable[[Counter], None]) -> None:
        with self._lock:
            if self._counter is None:
                self._uncounted.append(count)
            else:
                count(self._counter)
