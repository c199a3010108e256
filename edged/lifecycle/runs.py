"""The processes of one model, one after the other: each from its admission to reaping."""

import logging
from collections.abc import Callable

import msgspec

from edged.errors import ModelFileError, NoRoom, RunnerFailed
from edged.lifecycle.admission import Admission
from edged.lifecycle.desk import Desk
from edged.lifecycle.events import Board, Events
from edged.lifecycle.feed import Notice
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.residence import Residence
from edged.lifecycle.status import JUST_PLANNED, Cause
from edged.lifecycle.supervision import Supervision, start_frame
from edged.lifecycle.vigil import Hung, Vigil
from edged.policy.reload_time import expected
from edged.policy.types import LoadPlan
from edged.runner import protocol

log = logging.getLogger(__name__)


class Means(msgspec.Struct, frozen=True):
    """What comes before a process, and who is told what becomes of it.

    `check_file` raises ModelFileError for a file that must not be loaded. `take_spare` gives a runner that
    has been started already, if there is one. `wait` returns when it may be seen whether there is room.
    `smaller` gives the next smaller plan for a model whose runner the kernel has ended for its memory, and
    `fitting` one that needs no more than so many bytes; None where there is none. `cached` says how much of a
    file is in the page cache (None: unknown). `publish` is called under
    a lock, and must not wait.
    """

    admission: Admission
    check_file: Callable[[LoadPlan], None]
    take_spare: Callable[[], RunnerProcess | None] = lambda: None
    wait: Callable[[], None] = lambda: None
    smaller: Callable[[LoadPlan], LoadPlan | None] = lambda _plan: None
    cached: Callable[[str], int | None] = lambda _path: None
    fitting: Callable[[LoadPlan, int], LoadPlan | None] = lambda _plan, _room_bytes: None
    publish: Callable[[Notice], None] = lambda _notice: None


class Runs:
    """For the supervisor of a model."""

    def __init__(self, desk: Desk, residence: Residence, events: Events, means: Means) -> None:
        self._desk = desk
        self._residence = residence
        self._board: Board = desk.board
        self._events = events
        self._means = means
        self._vigil: Vigil | None = None
        self._reads_ahead = True

    @property
    def is_watched(self) -> bool:
        """Whether a runner that there is is looked after."""
        vigil = self._vigil
        return vigil is None or vigil.is_kept

    def read_ahead(self, *, allowed: bool) -> None:
        """Let its runners read ahead of use, or have pages come as they are touched."""
        if self._reads_ahead == allowed:
            return
        self._reads_ahead = allowed
        with self._board.changed:
            process = self._desk.process if self._board.is_ready else None
            if allowed and self._board.status.cooled == "pages":  # it reads them again
                self._board.set(cooled=None)
        if process is not None:
            self._desk.tell(process, protocol.ReadAhead(allowed))

    def once(self, limits: Callable[[], Supervision], cause: Cause) -> str:
        """Be admitted, load and serve; returns why it ended. `limits` are asked for when they are needed."""
        self._means.wait()
        try:
            if not self._enter(cause):
                return ""
        except NoRoom as error:
            self._board.lacks_room = True
            return str(error)
        try:
            return self._serve(self._board.plan, limits, cause)
        finally:
            self._means.admission.leave(self._residence)
            with self._board.changed:
                self._residence.forget_leaving()

    def _enter(self, cause: Cause) -> bool:
        """Be admitted: by a smaller plan where there is no room for the one in force. Raises NoRoom."""
        admission, plan = self._means.admission, self._board.plan
        try:
            return admission.enter(self._residence, plan, cause)
        except NoRoom as error:
            fitting = self._means.fitting(plan, error.room_bytes)
            if fitting is None:
                raise
        with self._board.changed:
            self._board.go_by(fitting)
        return admission.enter(self._residence, fitting, cause)

    def _serve(self, plan: LoadPlan, limits: Callable[[], Supervision], cause: Cause) -> str:
        """One process from spawn to reaping."""
        process = self._means.take_spare()
        if not self._begin(cause):
            return self._reap(process, None)
        reason = None
        try:
            self._means.check_file(plan)
            if not self._board.unloading:
                process = process or _spawn(plan, limits())
                self._follow(process, plan, limits, cause)
        except ModelFileError as error:
            self._board.load_failed = True
            reason = str(error)
        except (protocol.ProtocolError, RunnerFailed, OSError) as error:
            self._board.ended_by = "hung" if isinstance(error, Hung) else "crash"
            reason = str(error)
        except Exception as error:  # whatever it was: without its supervisor the model would load for ever
            log.exception("%s: the supervisor failed", plan.model)
            reason = f"an internal error: {error!r}"
        return self._reap(process, reason)

    def _begin(self, cause: Cause) -> bool:
        """Show that it loads; False when it is not to."""
        with self._board.changed:
            if self._board.unloading:
                return False
            self._board.begin(cause)
            return True

    def _follow(
        self, process: RunnerProcess, plan: LoadPlan, limits: Callable[[], Supervision], cause: Cause
    ) -> None:
        """Load and serve until the process ends."""
        with self._board.changed:
            self._desk.process = process
            self._board.set(pid=process.pid)
            if self._board.unloading:  # it came before the process: nobody else will stop it
                return
            supervision = limits()
            process.send(
                start_frame(plan, supervision, reads_ahead=self._reads_ahead)
            )  # before what `RunnerHandle.supervise` sends
        if cause not in JUST_PLANNED:
            self._expect(plan)
        fields = {"MODEL": plan.model, "STRATEGY": plan.strategy}
        log.info("%s: loading (%s)", *fields.values(), extra={"EVENT": "model_loading", **fields})
        self._vigil = vigil = Vigil(
            process, self._board, supervision.hang_timeout_s, supervision.load_timeout_s
        )
        for event in process.events(vigil.patience_s):
            self._events.apply(event, cause)

    def _expect(self, plan: LoadPlan) -> None:
        """Show what the load takes as the page cache is now."""
        found = expected(plan, self._means.cached(plan.path))
        with self._board.changed:
            self._board.set(predicted_ready_s=found.ready_s, predicted_first_answer_s=found.first_answer_s)

    def _reap(self, process: RunnerProcess | None, reason: str | None) -> str:
        """End the process and its requests; returns why, by exit code where there is no `reason` already."""
        with self._board.changed:
            self._desk.process = self._vigil = None
            ended_while = self._board.status.state
            said = reason or self._board.status.reason
            if ended_while != "unloading":  # nobody must take it for ready while it is being reaped
                self._board.set(state="failed", reason=said or "its runner ended")
        begun: frozenset[int] | None = frozenset()
        if process is not None:
            begun = process.computing()
            if reason is not None:
                process.kill()
            exit_code = process.close()
            said = said or self._board.ended(exit_code, ended_while)
            with self._board.changed:
                self._board.set(
                    last_log_lines=process.last_log_lines, pid=None, busy_slots=0, queued_requests=0
                )
        model, in_flight = self._board.status.model, self._desk.in_flight
        if ended_while == "unloading":
            in_flight.abandon(f"{model}: was unloaded", None)
        else:
            in_flight.abandon(f"{model}: {said}; the model is being restarted", begun)
        return said or ""


def _spawn(plan: LoadPlan, supervision: Supervision) -> RunnerProcess:
    module = "edged.runner.fake" if plan.path.startswith("fake:") else "edged.runner.main"
    return RunnerProcess(module, supervision.inherited)
