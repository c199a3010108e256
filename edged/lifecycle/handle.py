"""One model's runner over its whole life: spawn, load, serve, crash, restart, unload.

A supervisor thread owns the process and changes the state; callers wait on a condition and never act on a
state they saw earlier. `unloading` is theirs to set: whatever a supervisor is doing then, it ends.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from edged.config.units import format_bytes
from edged.errors import ModelFileError, RunnerFailed, Unavailable
from edged.lifecycle.desk import Desk
from edged.lifecycle.events import Board, Events
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.requests import Generation, InFlight
from edged.lifecycle.status import Cause, GivenUp, ModelStatus
from edged.lifecycle.supervision import Awaited, Backoff, Observer, Supervision, limits_frame, start_frame
from edged.lifecycle.vigil import Hung, Vigil
from edged.policy.types import LoadPlan
from edged.runner import protocol

log = logging.getLogger(__name__)

_STOP_S = 5.0  # for a runner to end what it computes and give its memory back


class RunnerHandle:
    """The one way to a model."""

    def __init__(
        self,
        plan: LoadPlan,
        supervision: Supervision,
        observer: Observer,
        check_file: Callable[[LoadPlan], None],
        take_spare: Callable[[], RunnerProcess | None] = lambda: None,
    ) -> None:
        """`check_file` raises ModelFileError for a file that must not be loaded; called before each load.

        `take_spare`, called before each load, gives a runner that has been started already, if there is one;
        it may wait until there is room.
        """
        self.plan = plan
        self._supervision = supervision
        self._observer = observer
        self._check_file = check_file
        self._take_spare = take_spare
        self._board = board = Board(plan)
        self._changed = board.changed
        self._wanted = False
        self._closed = False
        self._supervisor: threading.Thread | None = None
        self._vigil: Vigil | None = None
        self._in_flight = InFlight()
        self._desk = Desk(board, self._in_flight, self._next_answers)
        self._events = Events(plan, board, self._in_flight, observer)
        self._backoff = Backoff(supervision.backoff_s, supervision.backoff_max_s)
        self._retry_at_s = 0.0
        self._reads_ahead = True
        self._awaited = Awaited(supervision)

    def load(self, cause: Cause) -> None:
        """Want the model loaded; returns at once. A back-off that is running ends now.

        Raises Unavailable after `close`, Replaced after `retire`.
        """
        with self._changed:
            self._desk.check_in_force()
            if self._closed:
                raise Unavailable("edged is shutting down", 5.0)
            self._wanted = True
            self._retry_at_s = 0.0
            if self._supervisor is None:
                name = f"runner-{self.plan.model}"
                supervisor = threading.Thread(target=self._supervise, args=(cause,), name=name, daemon=True)
                supervisor.start()
                self._supervisor = supervisor
            if self._board.status.state in ("unloaded", "failed"):
                self._board.load_failed = False
                self._board.set(state="loading")
            self._changed.notify_all()

    def unload(self) -> None:
        """Stop the runner and return when its memory is free; requests in flight end with RunnerFailed."""
        with self._changed:
            self._wanted = False
            supervisor, process, state = self._supervisor, self._desk.process, self._board.status.state
            if supervisor is None:
                return
            self._board.set(state="unloading")
            self._changed.notify_all()
        if process is not None:
            self._desk.tell(process, protocol.Shutdown())
            if state == "loading":
                process.interrupt()  # a load does not read frames
        supervisor.join(_STOP_S)
        with self._changed:
            if self._supervisor is supervisor and self._desk.process is not None:
                self._desk.process.kill()  # it hangs
        supervisor.join(_STOP_S)  # only the check of a large file takes longer, and no runner follows it

    def close(self) -> None:
        """Unload for good: whoever still waits for the model does not load it again."""
        with self._changed:
            self._closed = True
            self._awaited.close()
        self.unload()

    def supervise(self, supervision: Supervision, *, at_start: bool) -> None:
        """Go on by other limits, which a runner takes while it works; load at start or not from now on."""
        with self._changed:
            self._supervision = supervision
            self._backoff.first_s, self._backoff.longest_s = supervision.backoff_s, supervision.backoff_max_s
            if self.plan.load_at_start != at_start:
                self.plan = msgspec.structs.replace(self.plan, load_at_start=at_start)
                self._board.set(load_at_start=at_start)
            process = self._desk.process
        if process is not None:
            self._desk.tell(process, limits_frame(supervision))

    def retire(self) -> None:
        """Take nothing more: who asks from now on, or waits for the load, gets Replaced."""
        with self._changed:
            self._desk.retired = True
            self._changed.notify_all()

    def drain(self, deadline: float) -> bool:
        """Return when everything it took is answered; False if `deadline` (monotonic) passes before."""
        return self._in_flight.wait_until_none(deadline)

    def ensure_ready(self, wait_s: float, cause: Cause = "demand") -> None:
        """Return when the model answers; loads it when it is not.

        Raises Unavailable after `wait_s`, or at once when waiting would be in vain; Replaced after `retire`.
        """
        deadline = time.monotonic() + wait_s
        with self._changed:
            if self._board.is_ready:  # nearly always: its reader need not be told that somebody waits
                return
            self._wait_until_ready(deadline, cause)

    def _wait_until_ready(self, deadline: float, cause: Cause) -> None:
        with self._awaited.by_one_more():
            while not self._board.is_ready:
                self._desk.check_in_force()
                if self._board.status.state == "failed" and self._given_up():
                    self._board.refuse(self._retry_at_s - time.monotonic())
                if self._supervisor is None:
                    self.load(cause)
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    self._board.refuse(self.status().remaining_s or 1.0)

    def _next_answers(self, wait_s: float) -> bool:
        """Whether the runner after one that died answers within `wait_s`.

        Raises Unavailable when waiting is in vain.
        """
        deadline = time.monotonic() + wait_s
        try:
            self.ensure_ready(wait_s, "crash")
        except Unavailable:
            if time.monotonic() < deadline:
                raise
            return False
        return True

    def status(self) -> ModelStatus:
        """What can be said now."""
        return self._board.now()

    @property
    def is_supervised(self) -> bool:
        """Whether whoever has to look after the runner does."""
        supervisor, vigil = self._supervisor, self._vigil
        return (supervisor is None or supervisor.is_alive()) and (vigil is None or vigil.is_kept)

    # ---- requests ----

    def generate(self, request: protocol.Generate) -> Generation:
        """Submit a generation. Raises Unavailable, Replaced or RunnerFailed when no runner takes it."""
        return self._desk.generate(request)

    def embed(
        self, request: protocol.Embed, deadline: float, check: Callable[[], None] = lambda: None
    ) -> protocol.Embeddings:
        """Embed and wait; `check`, called now and then, gives up by raising.

        Raises InvalidRequest, Overloaded, RunnerFailed, Unavailable, Replaced, and what `check` raises.
        """
        return self._desk.embed(request, deadline, check)

    def warmup(self, deadline: float) -> float:
        """Fill the page cache and run a batch; returns the seconds it took. Raises as `embed` does."""
        return self._desk.warmup(deadline)

    def cool(self, deadline: float, *, shrink: bool = False) -> int:
        """Have the runner give memory back until its next request; returns how many bytes.

        0 while it has something to do. Raises as `warmup` does.
        """
        cooled = self._desk.cool(deadline, shrink=shrink)
        if cooled.done:
            with self._changed:
                if not self._in_flight:
                    self._board.set(cooled="context" if shrink else "pages")
            log.info(
                "%s: gave back %s",
                *(self.plan.model, format_bytes(cooled.freed_bytes)),
                extra={"EVENT": "model_cooled", **self._fields},
            )
        return cooled.freed_bytes

    def read_ahead(self, *, allowed: bool) -> None:
        """Let its runner read ahead of use, or not."""
        with self._changed:
            self._reads_ahead = allowed
            process = self._desk.process if self._board.is_ready else None
        if process is not None:
            self._desk.tell(process, protocol.ReadAhead(allowed))

    @property
    def idle_s(self) -> float:
        """How long it has had nothing to do."""
        return self._in_flight.idle_s

    # ---- the supervisor thread ----

    @property
    def _fields(self) -> dict[str, str]:
        """What log records say about the model."""
        return {"MODEL": self.plan.model, "STRATEGY": self.plan.strategy}

    def _supervise(self, cause: Cause) -> None:
        while not self._board.unloading:
            self._fail(self._run_once(cause))
            cause = self._board.ended_by
            with self._changed:
                pause_s = max(0.0, self._retry_at_s - time.monotonic())
                self._changed.wait_for(
                    lambda: self._board.unloading or time.monotonic() >= self._retry_at_s, pause_s
                )
        with self._changed:
            self._supervisor = None
            self._backoff.reset()
            self._board.set(state="unloaded", phase=None, reason=None)
            self._changed.notify_all()
            log.info("%s: unloaded", self.plan.model, extra={"EVENT": "model_unloaded", **self._fields})
            if self._wanted and not (self._closed or self._desk.retired):  # asked for again in the meantime
                self.load("demand")

    def _run_once(self, cause: Cause) -> str:
        """One process from spawn to reaping; returns why it ended."""
        process = self._take_spare()
        if not self._begin():
            return self._reap(process, None)
        reason = None
        try:
            self._check_file(self.plan)
            if not self._board.unloading:
                process = process or self._spawn()
                self._follow(process, cause)
        except ModelFileError as error:
            self._board.load_failed = True
            reason = str(error)
        except (protocol.ProtocolError, RunnerFailed, OSError) as error:
            self._board.ended_by = "hung" if isinstance(error, Hung) else "crash"
            reason = str(error)
        except Exception as error:  # whatever it was: without its supervisor the model would load for ever
            log.exception("%s: the supervisor failed", self.plan.model)
            reason = f"an internal error: {error!r}"
        return self._reap(process, reason)

    def _begin(self) -> bool:
        """Show that it loads; False when it is not to."""
        with self._changed:
            if self._board.unloading:
                return False
            self._board.begin()
            return True

    def _spawn(self) -> RunnerProcess:
        module = "edged.runner.fake" if self.plan.path.startswith("fake:") else "edged.runner.main"
        return RunnerProcess(module, self._supervision.inherited)

    def _follow(self, process: RunnerProcess, cause: Cause) -> None:
        """Load and serve until the process ends."""
        with self._changed:
            self._desk.process = process
            self._board.set(pid=process.pid)
            if self._board.unloading:  # it came before the process: nobody else will stop it
                return
            limits = self._supervision
            process.send(
                start_frame(self.plan, limits, reads_ahead=self._reads_ahead)
            )  # before what `supervise` sends
        log.info("%s: loading (%s)", *self._fields.values(), extra={"EVENT": "model_loading", **self._fields})
        self._vigil = vigil = Vigil(process, self._board, limits.hang_timeout_s, limits.load_timeout_s)
        for event in process.events(vigil.patience_s):
            self._events.apply(event, cause)

    def _reap(self, process: RunnerProcess | None, reason: str | None) -> str:
        """End the process and its requests; returns why, by exit code where there is no `reason` already."""
        with self._changed:
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
            with self._changed:
                self._board.set(
                    last_log_lines=process.last_log_lines, pid=None, busy_slots=0, queued_requests=0
                )
        what_now = "was unloaded" if ended_while == "unloading" else f"{said}; the model is being restarted"
        self._in_flight.abandon(
            f"{self.plan.model}: {what_now}", None if ended_while == "unloading" else begun
        )
        return said or ""

    def _fail(self, reason: str) -> None:
        with self._changed:
            if self._board.unloading:
                return
            backoff_s = self._backoff.after(self._board.clock.served_s, load_failed=self._board.load_failed)
            self._retry_at_s = time.monotonic() + backoff_s
            self._board.set(
                state="failed", phase=None, reason=reason, restarts=self._board.status.restarts + 1,
                given_up=self._given_up(),
            )  # fmt: skip
            self._changed.notify_all()
        self._observer.failed(self.plan, reason, self._board.failure)

    def _given_up(self) -> GivenUp | None:
        return self._backoff.given_up(load_failed=self._board.load_failed)
