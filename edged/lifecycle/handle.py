"""One model's runner over its whole life: admitted, spawned, loaded, serving, crashed, restarted, unloaded.

A supervisor thread owns the process and changes the state; callers wait on a condition and never act on a
state they saw earlier. `unloading` is theirs to set: whatever a supervisor is doing then, it ends.
"""

import logging
import threading
import time
from collections.abc import Callable

from edged.errors import Unavailable
from edged.lifecycle.desk import Desk
from edged.lifecycle.door import Door
from edged.lifecycle.events import Board, Events
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.requests import Generation
from edged.lifecycle.residence import Residence
from edged.lifecycle.runs import Means, Runs
from edged.lifecycle.status import Cause, GivenUp, ModelStatus, State, UnloadCause
from edged.lifecycle.supervision import Awaited, Backoff, Observer, Supervision, limits_frame
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
        means: Means,
    ) -> None:
        self._supervision = supervision
        self._observer = observer
        self._means = means
        self._board = board = Board(plan, means.publish)
        self._changed = board.changed
        self._door = Door(board.changed, supervision.linger_s)
        self._wanted = False
        self._closed = False
        self._supervisor: threading.Thread | None = None
        self.residence = Residence(board, self._door, supervision, self._begin_unloading)
        self._in_flight = self.residence.in_flight
        self._desk = Desk(board, self._door, self._in_flight, self.ensure_ready)
        self._runs = Runs(self._desk, self.residence, Events(board, self._in_flight, observer), means)
        self._backoff = Backoff(supervision.backoff_s, supervision.backoff_max_s)
        self._retry_at_s = 0.0
        self._n_refusals = 0  # loads for which there was no room
        self._awaited = Awaited(supervision)

    @property
    def plan(self) -> LoadPlan:
        """What it is loaded by."""
        return self._board.plan

    def load(self, cause: Cause) -> None:
        """Want the model loaded; returns at once. A back-off that is running ends now.

        Raises Unavailable after `close`, Replaced after `retire`.
        """
        with self._changed:
            self._desk.check_in_force()
            if self._closed:
                raise Unavailable("edged is shutting down", 5.0)
            if cause == "demand":
                self._door.urge()
                if self._board.status.unloaded_by in ("evicted", "pressure"):
                    cause = "evicted"
            self._wanted = True
            self._retry_at_s = 0.0
            if self._supervisor is None:
                name = f"runner-{self.plan.model}"
                supervisor = threading.Thread(target=self._supervise, args=(cause,), name=name, daemon=True)
                supervisor.start()
                self._supervisor = supervisor
            if self._board.status.state in ("unloaded", "failed"):
                self._board.load_failed = False
                self._board.set(state="loading", cause=cause, phase="room", reason=None)
            self._changed.notify_all()

    def unload(self, cause: UnloadCause = "asked") -> None:
        """Stop the runner and return when its memory is free; requests in flight end with RunnerFailed."""
        with self._changed:
            end = self._begin_unloading(cause)
        if end is not None:
            end()

    def _begin_unloading(self, cause: UnloadCause) -> Callable[[], None] | None:
        """Let nothing follow the present runner; returns what ends it. Under the condition."""
        self._wanted = False
        supervisor, process, state = self._supervisor, self._desk.process, self._board.status.state
        if supervisor is None:
            return None
        if state != "unloading":
            self._board.set(state="unloading", unloaded_by=cause)
        self._changed.notify_all()
        return lambda: self._end(supervisor, process, state)

    def _end(self, supervisor: threading.Thread, process: RunnerProcess | None, state: State) -> None:
        self._means.admission.look_again()
        if process is not None:
            self._desk.tell(process, protocol.Shutdown())
            if state == "loading":
                process.interrupt()  # a load does not read frames
        supervisor.join(_STOP_S)
        with self._changed:
            if self._supervisor is supervisor and self._desk.process is not None:
                self._desk.process.kill()  # it hangs
        supervisor.join(_STOP_S)  # only the check of a large file takes longer, and no runner follows it

    def close(self, cause: UnloadCause = "closing") -> None:
        """Unload for good: whoever still waits for the model does not load it again."""
        with self._changed:
            self._closed = True
            self._awaited.close()
        self.unload(cause)

    def supervise(self, supervision: Supervision, *, at_start: bool) -> None:
        """Go on by other limits, which a runner takes while it works; load at start or not from now on."""
        with self._changed:
            self._supervision = supervision
            self._backoff.first_s, self._backoff.longest_s = supervision.backoff_s, supervision.backoff_max_s
            self._board.load_at_start(at_start)
            process = self._desk.process
        if process is not None:
            self._desk.tell(process, limits_frame(supervision))
        self.residence.follow(supervision)

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
            if self._desk.answers:  # nearly always: its reader need not be told that somebody waits
                return
            with self.residence.asking(), self._awaited.by_one_more():
                self._wait_until_ready(deadline, cause)

    def _wait_until_ready(self, deadline: float, cause: Cause) -> None:
        n_refusals = self._n_refusals
        while not self._desk.answers:
            self._desk.check_in_force()
            failed = self._board.status.state == "failed" and self._given_up() is not None
            if failed and self._board.lacks_room and self._n_refusals == n_refusals:
                self.load(cause)  # others may have gone in the meantime, or leave for it now
            elif failed:
                self._board.refuse(self._retry_at_s - time.monotonic())
            elif self._supervisor is None:
                self.load(cause)
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._changed.wait(left_s):
                self._door.urge()
                self._board.refuse(self.status().remaining_s or 1.0)

    def status(self) -> ModelStatus:
        """What can be said now."""
        return self._board.now()

    @property
    def chat(self) -> protocol.ChatFormat | None:
        """How its model writes, as its runner said; None: there was none yet, or it has no chat template."""
        return self._board.status.chat

    @property
    def is_supervised(self) -> bool:
        """Whether whoever has to look after the runner does."""
        supervisor = self._supervisor
        return (supervisor is None or supervisor.is_alive()) and self._runs.is_watched

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
        return self._desk.ask(request, protocol.Embeddings, deadline, check)

    def rank(
        self, request: protocol.Rank, deadline: float, check: Callable[[], None] = lambda: None
    ) -> protocol.Scores:
        """Say how well documents answer a query, and wait. Raises as `embed` does."""
        return self._desk.ask(request, protocol.Scores, deadline, check)

    def tokenize(self, request: protocol.Tokenize, deadline: float) -> protocol.Tokens:
        """The tokens of a text. Raises as `embed` does."""
        return self._desk.ask(request, protocol.Tokens, deadline, lambda: None)

    def text(self, request: protocol.Detokenize | protocol.Render, deadline: float) -> str:
        """The text of tokens, or of a conversation. Raises as `embed` does."""
        return self._desk.ask(request, protocol.Text, deadline, lambda: None).text

    def warmup(self, deadline: float) -> float:
        """Fill the page cache and run a batch; returns the seconds it took. Raises as `embed` does."""
        return self._desk.ask_once(protocol.Warmup(0), protocol.Warmed, deadline).elapsed_s

    def cool(self, deadline: float, *, shrink: bool = False) -> int:
        """Have the runner give memory back until its next request; returns how many bytes.

        0 while it has something to do. Raises Unavailable, Replaced or RunnerFailed when no runner does it.
        """
        return self._desk.cool(deadline, shrink=shrink)

    def read_ahead(self, *, allowed: bool) -> None:
        """Let its runners read ahead of use, or not."""
        self._runs.read_ahead(allowed=allowed)

    # ---- the supervisor thread ----

    def _supervise(self, cause: Cause) -> None:
        while not self._board.unloading:
            self._fail(self._runs.once(lambda: self._supervision, cause))
            with self._changed:
                if self._rests_failed():
                    self._supervisor = None
                    self._board.go_by(None)
                    return
                cause = cause if self._board.lacks_room else self._board.ended_by
                pause_s = max(0.0, self._retry_at_s - time.monotonic())
                self._changed.wait_for(
                    lambda: self._board.unloading or time.monotonic() >= self._retry_at_s, pause_s
                )
        with self._changed:
            self._supervisor = None
            self._backoff.reset()
            self.residence.unloaded()
            self._board.go_by(None)
            self._board.set(state="unloaded", phase=None, reason=None)
            self._changed.notify_all()
            if self._wanted and not (self._closed or self._desk.retired):  # asked for again in the meantime
                self.load("demand")
        self._observer.unloaded(self.plan, self._board.status.unloaded_by or "asked")

    def _fail(self, reason: str) -> None:
        with self._changed:
            if self._board.unloading:
                return
            lacks_room = self._board.lacks_room
            backoff_s = self._backoff.longest_s
            if not lacks_room:
                served_s, load_failed = self._board.clock.served_s, self._board.load_failed
                backoff_s = self._backoff.after(served_s, load_failed=load_failed)
            self._retry_at_s = time.monotonic() + backoff_s
            self._n_refusals += lacks_room
            self._board.set(
                state="failed", phase=None, reason=reason,
                restarts=self._board.status.restarts + (not lacks_room), given_up=self._given_up(),
            )  # fmt: skip
            self._changed.notify_all()
            failure = self._board.failure
        self._observer.failed(self.plan, reason, failure)
        smaller = self._means.smaller(self.plan) if failure == "memory" else None
        with self._changed:
            if smaller is not None and not self._board.unloading:
                self._board.go_by(smaller)

    def _given_up(self) -> GivenUp | None:
        if self._board.lacks_room:
            return "memory"
        return self._backoff.given_up(load_failed=self._board.load_failed)

    def _rests_failed(self) -> bool:
        """Whether nobody tries again until somebody asks: there was no room for what none needs at start."""
        return (
            self._board.lacks_room
            and not self.plan.load_at_start
            and self._board.status.state == "failed"  # or it was asked for again just now
        )
