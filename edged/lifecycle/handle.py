"""One model's runner over its whole life: spawn, load, serve, crash, restart, unload.

A supervisor thread owns the process and is the only one that changes the state; callers wait on a condition
and never act on a state they saw earlier.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from edged.errors import EdgedError, ModelFileError, RunnerFailed, Unavailable
from edged.lifecycle.process import Event, RunnerProcess
from edged.lifecycle.requests import Answer, Generation, Pending, error_of
from edged.lifecycle.status import Cause, ModelStatus, remaining_s, why_ended, why_not_ready
from edged.lifecycle.supervision import Observer, Supervision, start_frame
from edged.policy.types import LoadPlan
from edged.runner import protocol

log = logging.getLogger(__name__)

_CRASHES_WORTH_WAITING_FOR = 3
_STOP_S = 5.0  # for a runner to end what it computes and give its memory back


class RunnerHandle:
    """The one way to a model."""

    def __init__(
        self,
        plan: LoadPlan,
        supervision: Supervision,
        observer: Observer,
        check_file: Callable[[LoadPlan], None],
    ) -> None:
        """`check_file` raises ModelFileError for a file that must not be loaded; called before each spawn."""
        self.plan = plan
        self._supervision = supervision
        self._observer = observer
        self._check_file = check_file
        self._changed = threading.Condition()
        self._status = ModelStatus(
            model=plan.model,
            state="unloaded",
            kind=plan.kind,
            strategy=plan.strategy,
            load_at_start=plan.load_at_start,
            predicted_ready_s=plan.predicted.ready_s,
            predicted_first_answer_s=plan.predicted.first_answer_s,
        )
        self._wanted = False
        self._supervisor: threading.Thread | None = None
        self._process: RunnerProcess | None = None
        self._pending: dict[int, Pending] = {}
        self._last_request = 0
        self._began_s = 0.0
        self._unasked_s = 0.0  # how long the model had been ready before anybody asked
        self._crashes = 0
        self._load_failed = False
        self._retry_at_s = 0.0

    # ---- life ----

    def load(self, cause: Cause) -> None:
        """Want the model loaded; returns at once. A back-off that is running ends now."""
        with self._changed:
            self._wanted = True
            self._retry_at_s = 0.0
            if self._supervisor is None:
                self._load_failed = False
                self._set(state="loading")
                self._supervisor = threading.Thread(
                    target=self._supervise, args=(cause,), name=f"runner-{self.plan.model}", daemon=True
                )
                self._supervisor.start()
            self._changed.notify_all()

    def unload(self) -> None:
        """Stop the runner and return when its memory is free; requests in flight end with RunnerFailed."""
        with self._changed:
            self._wanted = False
            supervisor, process, state = self._supervisor, self._process, self._status.state
            if process is not None:
                self._set(state="unloading")
            self._changed.notify_all()
        if process is not None:
            try:
                process.send(protocol.Shutdown())
            except RunnerFailed as error:
                log.debug("%s: %s", self.plan.model, error)
            if state != "ready":
                process.interrupt()  # a load does not read frames
        if supervisor is not None:
            supervisor.join(_STOP_S)
            if supervisor.is_alive() and process is not None:
                process.kill()  # it hangs
            supervisor.join()

    def ensure_ready(self, wait_s: float, cause: Cause = "demand") -> None:
        """Return when the model answers; loads it when it is not.

        Raises Unavailable after `wait_s`, or at once when waiting would be in vain.
        """
        deadline = time.monotonic() + wait_s
        with self._changed:
            while self._status.state != "ready":
                if self._status.state == "failed" and not self._worth_waiting():
                    raise Unavailable(
                        why_not_ready(self._status), max(1.0, self._retry_at_s - time.monotonic())
                    )
                if self._supervisor is None:
                    self.load(cause)
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise Unavailable(why_not_ready(self._status), max(1.0, self.status().remaining_s or 1.0))

    def status(self) -> ModelStatus:
        """What can be said now."""
        with self._changed:
            left_s = remaining_s(self._status, time.monotonic() - self._began_s)
            return msgspec.structs.replace(self._status, remaining_s=left_s)

    # ---- requests ----

    def generate(self, request: protocol.Generate) -> Generation:
        """Submit a generation. Raises Unavailable or RunnerFailed when no runner takes it."""
        pending = self._submit(lambda number: msgspec.structs.replace(request, id=number))
        return Generation(pending, lambda: self._cancel(pending))

    def embed(
        self, request: protocol.Embed, deadline: float, check: Callable[[], None] = lambda: None
    ) -> protocol.Embeddings:
        """Embed and wait; `check`, called now and then, gives up by raising.

        Raises InvalidRequest, Overloaded, RunnerFailed, Unavailable, and what `check` raises.
        """
        pending = self._submit(lambda number: msgspec.structs.replace(request, id=number))
        try:
            while not isinstance(answer := pending.next(deadline, check), protocol.Embeddings):
                if not isinstance(answer, protocol.Admitted):
                    raise RunnerFailed("the runner answered an embedding with something else")
            return answer
        finally:
            self._cancel(pending)

    def warmup(self, deadline: float) -> float:
        """Fill the page cache and run a batch; returns the seconds it took. Raises as `embed` does."""
        pending = self._submit(protocol.Warmup)
        try:
            answer = pending.next(deadline)
            if not isinstance(answer, protocol.Warmed):
                raise RunnerFailed("the runner answered a warm-up with something else")
            return answer.elapsed_s
        finally:
            self._cancel(pending)

    def _submit(self, make: Callable[[int], protocol.Generate | protocol.Embed | protocol.Warmup]) -> Pending:
        with self._changed:
            process = self._process
            if process is None or self._status.state != "ready":
                raise Unavailable(why_not_ready(self._status), 1.0)
            if self._status.measured_first_answer_s is None and not self._pending:
                self._unasked_s = time.monotonic() - self._began_s - (self._status.measured_ready_s or 0.0)
            self._last_request += 1
            pending = Pending(self._last_request)
            self._pending[pending.request] = pending
        try:
            process.send(make(pending.request))
        except (RunnerFailed, protocol.ProtocolError):
            self._forget(pending)
            raise
        return pending

    def _cancel(self, pending: Pending) -> None:
        process = self._process
        if self._forget(pending) and process is not None:
            try:
                process.send(protocol.Cancel(pending.request))
            except RunnerFailed as error:
                log.debug("%s: nothing to cancel: %s", self.plan.model, error)

    def _forget(self, pending: Pending) -> bool:
        with self._changed:
            return self._pending.pop(pending.request, None) is not None

    # ---- the supervisor thread ----

    def _supervise(self, cause: Cause) -> None:
        while self._wanted:
            reason = self._run_once(cause)
            if not self._wanted:
                break
            self._fail(reason)
            cause = "crash"
            with self._changed:
                self._changed.wait_for(self._may_retry, max(0.0, self._retry_at_s - time.monotonic()))
        with self._changed:
            self._supervisor = None
            self._crashes = 0
            self._set(state="unloaded", phase=None, reason=None)
            self._changed.notify_all()
            if self._wanted:  # asked for again in the meantime
                self.load(cause)

    def _may_retry(self) -> bool:
        return not self._wanted or time.monotonic() >= self._retry_at_s

    def _run_once(self, cause: Cause) -> str:
        """One process from spawn to reaping; returns why it ended."""
        with self._changed:
            self._load_failed = False
            self._began_s = time.monotonic()
            self._set(
                state="loading", reason=None, bytes_done=0, prefetch_done=False,
                measured_ready_s=None, measured_first_answer_s=None,
            )  # fmt: skip
        try:
            self._check_file(self.plan)
            module = "edged.runner.fake" if self.plan.path.startswith("fake:") else "edged.runner.main"
            process = RunnerProcess(module, self._supervision.lease_fd)
        except (ModelFileError, OSError) as error:
            self._load_failed = isinstance(error, ModelFileError)
            return str(error)
        reason = None
        try:
            with self._changed:
                self._process = process
                self._set(pid=process.pid)
            process.send(start_frame(self.plan, self._supervision))
            for event in process.events(self._patience_s):
                self._apply(event, cause)
                if not self._wanted and self._status.state == "loading":
                    process.interrupt()
        except (protocol.ProtocolError, TimeoutError, RunnerFailed) as error:
            reason = str(error)
            process.kill()
        finally:
            with self._changed:
                self._process = None
                ended_while = self._status.state
            code = process.close()
            reason = reason or self._status.reason or why_ended(code, ended_while)
            self._abandon(reason)
            with self._changed:
                self._set(last_log_lines=process.last_log_lines, pid=None)
        return reason

    def _patience_s(self) -> float | None:
        return self._supervision.load_timeout_s if self._status.state == "loading" else None

    def _apply(self, event: Event, cause: Cause) -> None:
        match event:
            case str():
                log.info("%s: %s", self.plan.model, event, extra={"MODEL": self.plan.model})
            case protocol.Progress():
                self._progress(event)
            case protocol.Ready():
                self._ready(event, cause)
            case protocol.Reads():
                self._observer.reads(self.plan, event)
            case protocol.LoadFailed():
                with self._changed:
                    self._load_failed = True
                    self._set(reason=event.reason)
            case protocol.Gauges():
                with self._changed:
                    self._set(busy_slots=event.busy_slots, queued_requests=event.queued_requests)
            case protocol.Step():
                for token in event.events:
                    self._answer(token.id, token, last=token.finish_reason is not None)
            case protocol.Embeddings() | protocol.Warmed():
                self._answer(event.id, event, last=True)
            case protocol.Admitted():
                self._answer(event.id, event, last=False)
            case protocol.Rejected():
                self._answer(event.id, error_of(event), last=True)

    def _answer(self, request: int, answer: Answer | EdgedError, *, last: bool) -> None:
        with self._changed:
            pending = self._pending.pop(request, None) if last else self._pending.get(request)
            first = self._status.measured_first_answer_s is None and isinstance(
                answer, protocol.TokenEvent | protocol.Embeddings
            )
            if first:
                self._set(measured_first_answer_s=self._first_answer_s())
        if pending is not None:
            pending.put(answer)
        if first and self._status.measured_first_answer_s is not None:
            self._observer.first_answer(self.plan, self._status.measured_first_answer_s)

    def _first_answer_s(self) -> float:
        """Since the load began, less the time in which nobody asked."""
        return time.monotonic() - self._began_s - self._unasked_s

    def _progress(self, event: protocol.Progress) -> None:
        with self._changed:
            if event.phase == "prefetch":
                done = event.bytes_done >= event.bytes_total
                self._set(bytes_done=event.bytes_done, bytes_total=event.bytes_total, prefetch_done=done)
            else:
                self._set(phase=event.phase)

    def _ready(self, event: protocol.Ready, cause: Cause) -> None:
        with self._changed:
            ready_s = time.monotonic() - self._began_s
            self._crashes = 0
            self._set(
                state="ready", phase=None, reason=None, n_ctx=event.n_ctx, n_embd=event.n_embd,
                measured_ready_s=ready_s, prefetch_done=event.prefetch_done or self._status.prefetch_done,
            )  # fmt: skip
            self._changed.notify_all()
        self._observer.ready(self.plan, cause, event, ready_s)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._crashes += 1
            exponent = min(self._crashes - 1, 16)
            backoff_s = min(self._supervision.backoff_max_s, self._supervision.backoff_s * 2.0**exponent)
            if self._load_failed:  # the file has to change first
                backoff_s = self._supervision.backoff_max_s
            self._retry_at_s = time.monotonic() + backoff_s
            self._set(state="failed", phase=None, reason=reason, restarts=self._status.restarts + 1)
            self._changed.notify_all()
        self._observer.failed(self.plan, reason)

    def _abandon(self, reason: str) -> None:
        with self._changed:
            pending, self._pending = self._pending, {}
        for request in pending.values():
            request.put(RunnerFailed(f"{self.plan.model}: {reason}; the model is being restarted"))

    def _set(self, **changes: object) -> None:
        self._status = msgspec.structs.replace(self._status, **changes)

    def _worth_waiting(self) -> bool:
        return not self._load_failed and self._crashes < _CRASHES_WORTH_WAITING_FOR
