"""What a runner says, as its model's state and as answers to those who asked."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import msgspec

from edged.config.units import format_bytes
from edged.errors import EdgedError, Unavailable
from edged.hw.memory import oom_kills
from edged.lifecycle.feed import Notice, notices
from edged.lifecycle.process import Event
from edged.lifecycle.requests import Answer, InFlight, error_of
from edged.lifecycle.status import (
    Cause,
    Failure,
    LoadClock,
    ModelStatus,
    State,
    least_remaining_s,
    remaining_s,
    why_ended,
    why_not_ready,
)
from edged.lifecycle.supervision import Observer, reads_first
from edged.lifecycle.use import Use
from edged.policy.types import LoadPlan
from edged.runner import protocol

log = logging.getLogger(__name__)


class Board:
    """One model's state, and the condition to hold while it is changed."""

    def __init__(self, plan: LoadPlan, publish: Callable[[Notice], None] = lambda _notice: None) -> None:
        self._publish = publish
        self._first_plan = plan
        self.plan = plan  # in force: a smaller one while memory is shorter than had been planned
        self.changed = threading.Condition()
        self.clock = LoadClock()
        self.use = Use()
        self.load_failed = False  # the runner, or the check of the file, said that it cannot be loaded
        self.lacks_room = False  # there is no room for it, and none can be made
        self.ended_by: Cause = "crash"  # the last runner that failed
        self.out_of_memory = False  # the kernel has ended it for its memory
        self.oom_kills: int | None = None  # on this machine, when the load began
        self.n_coolings = 0  # how often a runner answered `Cool`, and what it gave back the last time
        self.freed_bytes = 0
        self.moved_s: float | None = None  # when its runner last showed life (monotonic), by the last look
        self.status = ModelStatus(
            model=plan.model,
            state="unloaded",
            kind=plan.kind,
            strategy=plan.strategy,
            load_at_start=plan.load_at_start,
            reads_first=reads_first(plan),
            predicted_ready_s=plan.predicted.ready_s,
            predicted_first_answer_s=plan.predicted.first_answer_s,
        )

    def go_by(self, plan: LoadPlan | None) -> None:
        """Load by another plan from now on; None: by the first one again. Under the condition."""
        plan = plan or self._first_plan
        self.plan = msgspec.structs.replace(plan, load_at_start=self.plan.load_at_start)
        self.set(
            strategy=plan.strategy,
            reads_first=reads_first(plan),
            predicted_ready_s=plan.predicted.ready_s,
            predicted_first_answer_s=plan.predicted.first_answer_s,
        )

    def load_at_start(self, wanted: bool) -> None:
        """Load it at start from now on, or not. Under the condition."""
        if self.plan.load_at_start != wanted:
            self.plan = msgspec.structs.replace(self.plan, load_at_start=wanted)
            self.set(load_at_start=wanted)

    @property
    def is_ready(self) -> bool:
        """Whether the model answers."""
        return self.status.state == "ready"

    @property
    def unloading(self) -> bool:
        """Whether the model is to be unloaded, whatever its runner is doing."""
        return self.status.state == "unloading"

    def begin(self, cause: Cause) -> None:
        """A load begins."""
        self.load_failed = self.lacks_room = self.out_of_memory = False
        self.ended_by = "crash"
        self.oom_kills = oom_kills()
        self.clock = LoadClock()
        self.moved_s = None
        self.set(
            state="loading", cause=cause, phase=None, reason=None, bytes_done=0, prefetch_done=False,
            cooled=None,
            measured_ready_s=None, measured_first_answer_s=None,
        )  # fmt: skip

    def ended(self, exit_code: int, ended_while: State) -> str:
        """Why a runner has ended that nobody stopped."""
        kills = oom_kills()
        more = kills is not None and self.oom_kills is not None and kills > self.oom_kills
        self.out_of_memory = more and exit_code == -signal.SIGKILL
        return why_ended(exit_code, ended_while, for_memory=self.out_of_memory)

    @property
    def failure(self) -> Failure:
        """What kind of end the last runner had."""
        if self.lacks_room:
            return "room"
        if self.load_failed:
            return "file"
        if self.out_of_memory:
            return "memory"
        return "hung" if self.ended_by == "hung" else "crash"

    def refuse(self, retry_after_s: float) -> NoReturn:
        """Raises Unavailable with why the model does not answer."""
        raise Unavailable(why_not_ready(self.now()), max(1.0, retry_after_s))

    def set(self, **changes: object) -> None:
        """Change fields of the status, and tell who follows."""
        before, self.status = self.status, msgspec.structs.replace(self.status, **changes)
        for notice in notices(before, self.status, self.clock.elapsed_s):
            self._publish(notice)

    def now(self) -> ModelStatus:
        """What can be said now."""
        with self.changed:
            elapsed_s = self.clock.elapsed_s
            moved_s = self.moved_s if self.status.pid is not None else None
            return msgspec.structs.replace(
                self.status,
                remaining_s=remaining_s(self.status, elapsed_s),
                least_remaining_s=least_remaining_s(self.status, elapsed_s),
                silent_s=0.0 if moved_s is None else time.monotonic() - moved_s,
                tokens_per_s=self.use.tokens_per_s,
                unused_s=self.use.unused_s,
            )


class Events:
    """Takes what the runner of one model says; called by its supervisor."""

    def __init__(self, board: Board, in_flight: InFlight, observer: Observer) -> None:
        self._board = board
        self._in_flight = in_flight
        self._observer = observer

    def apply(self, event: Event, cause: Cause) -> None:
        """Take one event. Raises ProtocolError for what breaks the order of frames."""
        match event:
            case str():
                log.info("%s: %s", self._board.plan.model, event, extra={"MODEL": self._board.plan.model})
            case protocol.Progress():
                self._progress(event)
            case protocol.Ready():
                self._ready(event, cause)
            case protocol.Reads():
                self._observer.reads(self._board.plan, event)
            case protocol.LoadFailed():
                with self._board.changed:
                    if self._board.status.state == "ready":
                        raise protocol.ProtocolError("the runner said LoadFailed after Ready")
                    self._board.load_failed = True
                    self._board.set(reason=event.reason)
            case protocol.Gauges():
                with self._board.changed:
                    self._board.set(
                        busy_slots=event.busy_slots, queued_requests=event.queued_requests,
                        drafted_tokens=event.drafted_tokens, accepted_tokens=event.accepted_tokens,
                    )  # fmt: skip
            case protocol.Step():
                for token in event.events:
                    self._answer(token.id, token, last=token.finish_reason is not None)
            case (
                protocol.Embeddings()
                | protocol.Scores()
                | protocol.Tokens()
                | protocol.Text()
                | protocol.Warmed()
            ):
                self._answer(event.id, event, last=True)
            case protocol.Admitted():
                self._answer(event.id, event, last=False)
            case protocol.Cooled():
                self._cooled(event)
            case protocol.Rejected():
                self._answer(event.id, error_of(event), last=True)

    def _answer(self, request: int, answer: Answer | EdgedError, *, last: bool) -> None:
        first_answer_s = None
        if self._board.status.measured_first_answer_s is None and isinstance(
            answer, protocol.TokenEvent | protocol.Embeddings | protocol.Scores
        ):
            first_answer_s = self._board.clock.first_answer_s
            with self._board.changed:
                self._board.set(measured_first_answer_s=first_answer_s)
        pace = self._in_flight.answer(request, answer, last=last)
        if pace is not None:
            with self._board.changed:
                self._board.use.answered(*pace)
        if first_answer_s is not None:
            self._observer.first_answer(self._board.plan, first_answer_s)

    def _cooled(self, event: protocol.Cooled) -> None:
        with self._board.changed:
            self._board.n_coolings += 1
            self._board.freed_bytes = event.freed_bytes
            if event.done and not self._in_flight:
                self._board.set(cooled="context" if event.shrunk else "pages")
            self._board.changed.notify_all()
        if event.done:
            fields = {
                "EVENT": "model_cooled",
                "MODEL": self._board.plan.model,
                "STRATEGY": self._board.plan.strategy,
            }
            log.info(
                "%s: gave back %s", self._board.plan.model, format_bytes(event.freed_bytes), extra=fields
            )

    def _progress(self, event: protocol.Progress) -> None:
        with self._board.changed:
            if event.phase == "prefetch":
                done = event.bytes_done >= event.bytes_total
                self._board.set(
                    bytes_done=event.bytes_done, bytes_total=event.bytes_total, prefetch_done=done
                )
            else:
                self._board.set(phase=event.phase)

    def _ready(self, event: protocol.Ready, cause: Cause) -> None:
        with self._board.changed:
            if self._board.unloading:
                return
            if self._board.status.state != "loading":
                raise protocol.ProtocolError("the runner said Ready after Ready")
            ready_s = self._board.clock.ready()
            prefetch_done = event.prefetch_done or self._board.status.prefetch_done
            self._board.set(
                state="ready", phase=None, reason=None, given_up=None, unloaded_by=None,
                n_ctx=event.n_ctx, n_embd=event.n_embd, chat=event.chat, measured_ready_s=ready_s,
                prefetch_done=prefetch_done,
            )  # fmt: skip
            self._board.changed.notify_all()
        self._observer.ready(self._board.plan, cause, event, ready_s)
