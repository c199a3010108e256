"""Runners that wait for loads: those started ahead of plans, and then one spare, while memory allows.

A spare saves a load the start of Python and its imports. A load that comes while it still imports starts a
runner of its own: imports of a spare run at the lowest priority, and the load would have to wait for them.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from edged.hw.memory import memory_facts, resident_bytes
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.served import Served
from edged.lifecycle.spares import Spares
from edged.lifecycle.status import what_goes_on
from edged.lifecycle.supervision import Backoff
from edged.policy.spare import SPARE_BYTES, capacity_bytes, is_small_share
from edged.policy.types import LoadPlan

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # while there is none
_LOOK_AFTER_IT_EVERY_S = 5.0
_PATIENCE_S = 30.0  # with computing that does not pause; a spare costs a quarter of a second of it
_IMPORTS_S = 120.0  # far longer than they take, also where others use all cores
_PAUSE_S = 10.0  # after one that was given up, or has failed: then twice as long each time
_LONGEST_PAUSE_S = 600.0


class _Spare:
    """A runner without a model, and when (monotonic) it was last seen to wait for one."""

    def __init__(self, process: RunnerProcess, started_s: float) -> None:
        self.process = process
        self.is_new = True  # it has not finished its imports yet
        self.well_at_s = started_s


class Standby:
    """Keeps the spare. `take_for`, `give_up` and `close` are for any thread."""

    def __init__(
        self,
        n_ahead: int,
        inherited: Sequence[int],
        served: Callable[[], Served],
        room_bytes: Callable[[], int],
    ) -> None:
        """Start `n_ahead` at once. `inherited` are the descriptors that all runners share.

        `room_bytes` says what models leave of the memory now, what the spare has included.
        """
        self._ahead = Spares(n_ahead, inherited)
        self._inherited = inherited
        self._served = served
        self._room_bytes = room_bytes
        self._changed = threading.Condition()
        self._spare: _Spare | None = None
        self._spare_bytes = SPARE_BYTES
        self._wanted_since_s: float | None = None
        self._backoff = Backoff(_PAUSE_S, _LONGEST_PAUSE_S)
        self._not_before_s = 0.0
        self._closed = False
        self._keeper: threading.Thread | None = None

    def begin(self, n_loading: int) -> None:
        """Keep a spare from now on; so many loads begin now, and those of the start beyond them end."""
        self._ahead.keep(n_loading)
        self._keeper = threading.Thread(target=self._keep, name="spare-runner", daemon=True)
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        """Of the spare."""
        spare = self._spare
        return None if spare is None else spare.process.pid

    def take_for(self, plan: LoadPlan) -> RunnerProcess | None:
        """A runner that waits for a model, now the caller's; None when there is none."""
        if plan.path.startswith("fake:"):
            return None
        if (process := self._ahead.take()) is not None:
            return process
        with self._changed:
            self._changed.notify_all()  # one that is not ready may be in the way of the load
            if self._spare is None or not self._spare.process.is_idle:
                return None
            process, self._spare = self._spare.process, None
            return process

    def give_up(self) -> None:
        """End the spare, since memory is short; there is none for a while after the last call."""
        with self._changed:
            self._not_before_s = time.monotonic() + _PAUSE_S
            spare, self._spare = self._spare, None
        if spare is not None:
            log.info("the spare runner was ended: memory is short")
            _end(spare)

    def close(self) -> None:
        """End all that nobody took, for good."""
        self._ahead.close()
        with self._changed:
            self._closed = True
            spare, self._spare = self._spare, None
            self._changed.notify_all()
        if spare is not None:
            _end(spare)
        if self._keeper is not None:
            self._keeper.join()

    # ---- the keeper's thread ----

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not self._closed:
                    self._changed.wait(_LOOK_EVERY_S if self._spare is None else _LOOK_AFTER_IT_EVERY_S)
                if self._closed:
                    return
            self._look(time.monotonic())

    def _look(self, now_s: float) -> None:
        """Start one, or see after the one that is there."""
        spare = self._spare
        if spare is None:
            if self._is_time(now_s):
                self._start(now_s)
        elif not spare.process.alive:
            self._failed(spare, "has ended", now_s)
        elif not self._is_wanted():
            if self._dropped(spare):
                _end(spare)
        elif spare.process.is_idle:
            self._see_well(spare, now_s)
        elif now_s - spare.well_at_s > _IMPORTS_S:
            self._failed(spare, "hangs", now_s)

    def _is_time(self, now_s: float) -> bool:
        """Whether to start one: it is wanted, nothing loads, and nothing computes, or it does so for long."""
        if now_s < self._not_before_s or not self._is_wanted():
            self._wanted_since_s = None
            return False
        if self._wanted_since_s is None:
            self._wanted_since_s = now_s
        busy = what_goes_on(self._served().statuses())
        return busy is None or (busy == "computing" and now_s - self._wanted_since_s > _PATIENCE_S)

    def _is_wanted(self) -> bool:
        """Whether one should be there: a model could be asked for, and there is memory."""
        served = self._served()
        mode = served.config.loading.spare_runner
        if mode == "off":
            return False
        if mode == "auto":
            capacity = capacity_bytes(memory_facts(), served.config.memory)
            if not (_some_model_could_load(served) and is_small_share(self._spare_bytes, capacity)):
                return False
        return self._room_bytes() >= self._spare_bytes

    def _start(self, now_s: float) -> None:
        try:
            process = RunnerProcess("edged.runner.main", self._inherited, spare=True)
        except OSError as error:
            log.warning("a spare runner cannot be started: %s", error)
            self._not_before_s = now_s + self._backoff.after(0.0, load_failed=False)
            return
        spare = _Spare(process, now_s)
        with self._changed:
            closed = self._closed
            if not closed:
                self._spare = spare
        self._wanted_since_s = None
        if closed:
            _end(spare)

    def _see_well(self, spare: _Spare, now_s: float) -> None:
        spare.well_at_s = now_s
        if spare.is_new:
            spare.is_new = False
            self._backoff.reset()
            self._spare_bytes = max(SPARE_BYTES, resident_bytes(spare.process.pid) or 0)
            log.debug("a spare runner waits (pid %d)", spare.process.pid)

    def _failed(self, spare: _Spare, how: str, now_s: float) -> None:
        if not self._dropped(spare):
            return
        process = spare.process
        process.kill()
        process.read_log()
        code = process.close()
        said = "; ".join(process.last_log_lines) or "it said nothing"
        log.warning("the spare runner %s (exit code %d): %s", how, code, said)
        self._not_before_s = now_s + self._backoff.after(0.0, load_failed=False)

    def _dropped(self, spare: _Spare) -> bool:
        """Whether it was still there, and now is no more: somebody may have taken it."""
        with self._changed:
            if self._spare is not spare:
                return False
            self._spare = None
            return True


def _some_model_could_load(served: Served) -> bool:
    return any(
        handle.status().state in ("unloaded", "unloading", "failed")
        for handle in served.handles.values()
        if not handle.plan.path.startswith("fake:")
    )


def _end(spare: _Spare) -> None:
    spare.process.kill()
    spare.process.close()
