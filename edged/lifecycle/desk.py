"""Where requests are handed to a model's runner, while it answers."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from edged.errors import NotBegun, Replaced, RunnerFailed, Unavailable
from edged.lifecycle.door import Door
from edged.lifecycle.events import Board
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.requests import Generation, InFlight, Pending, Whole
from edged.lifecycle.status import Cause, why_not_ready
from edged.runner import protocol

log = logging.getLogger(__name__)

_Kind = TypeVar("_Kind", bound=Whole)

_POLL_S = 0.25  # how soon a client that has gone is noticed


class Desk:
    """For any thread. `process` and `retired` are the handle's to set, under the board's condition."""

    def __init__(
        self, board: Board, door: Door, in_flight: InFlight, ensure_ready: Callable[[float, Cause], None]
    ) -> None:
        """`ensure_ready` is the handle's."""
        self.board = board
        self.in_flight = in_flight
        self._door = door
        self._ensure_ready = ensure_ready
        self.process: RunnerProcess | None = None
        self.retired = False

    @property
    def answers(self) -> bool:
        """Whether a request that comes now is taken."""
        return self.board.is_ready and self._door.is_open

    def check_in_force(self) -> None:
        """Raises Replaced once the model has given way to another configuration."""
        if self.retired:
            raise Replaced(f"model {self.board.status.model} is being reloaded", 1.0)

    def tell(self, process: RunnerProcess, frame: protocol.ToRunner) -> None:
        """Send what a runner need not hear if it has just ended."""
        try:
            process.send(frame)
        except RunnerFailed as error:
            log.debug("%s: %s", self.board.status.model, error)

    def generate(self, request: protocol.Generate) -> Generation:
        """As `RunnerHandle.generate`."""

        def submit() -> Pending:
            return self._submit(request)

        def ask_again(wait_s: float) -> Pending | None:
            if not self._next_answers(wait_s):
                return None
            try:
                return submit()
            except Replaced:  # it has gone again
                return None

        try:
            pending = submit()
        except NotBegun:
            pending = None
        return Generation(pending, request.n, self._cancel, ask_again)

    def ask(
        self, request: protocol.Asked, kind: type[_Kind], deadline: float, check: Callable[[], None]
    ) -> _Kind:
        """Submit what has one answer, which is of a `kind`, and wait. As `RunnerHandle.embed`."""
        try:
            return self.ask_once(request, kind, deadline, check)
        except NotBegun:
            while time.monotonic() < deadline and not self._next_answers(_POLL_S):
                check()
            return self.ask_once(request, kind, deadline, check)

    def ask_once(
        self,
        request: protocol.Asked,
        kind: type[_Kind],
        deadline: float,
        check: Callable[[], None] = lambda: None,
    ) -> _Kind:
        """The same of this runner only. Raises NotBegun as well."""
        pending = self._submit(request)
        try:
            return pending.whole(kind, deadline, check)
        finally:
            self._cancel(pending)

    def cool(self, deadline: float, *, shrink: bool) -> int:
        """As `RunnerHandle.cool`."""
        with self.board.changed:
            self.check_in_force()
            process, n_coolings = self.process, self.board.n_coolings
            if process is None or not self.answers:
                self.board.refuse(1.0)
        process.send(protocol.Cool(shrink))
        with self.board.changed:
            while self.board.n_coolings == n_coolings:
                left_s = deadline - time.monotonic()
                if not self.board.is_ready or left_s <= 0 or not self.board.changed.wait(left_s):
                    self.board.refuse(1.0)
            return self.board.freed_bytes

    def _submit(self, request: protocol.Asked) -> Pending:
        with self.board.changed:
            self.check_in_force()
            process = self.process
            if process is None or not self.answers:
                raise Replaced(why_not_ready(self.board.status), 1.0)
            self._used()
            pending = self.in_flight.begin(request)
        try:
            process.send(msgspec.structs.replace(request, id=pending.request))
        except RunnerFailed as error:
            self.in_flight.forget(pending)
            raise NotBegun(str(error)) from error
        except BaseException:
            self.in_flight.forget(pending)
            raise
        return pending

    def _next_answers(self, wait_s: float) -> bool:
        """Whether the runner after one that died answers within `wait_s`.

        Raises Unavailable when waiting is in vain.
        """
        deadline = time.monotonic() + wait_s
        try:
            self._ensure_ready(wait_s, "crash")
        except Unavailable:
            if time.monotonic() < deadline:
                raise
            return False
        return True

    def _used(self) -> None:
        """Somebody asks for an answer. Under the board's condition."""
        self._door.came_in()
        if self.board.status.cooled is not None:
            self.board.set(cooled=None)
        if self.board.status.measured_first_answer_s is None and not self.in_flight:
            self.board.clock.asked()
        self.board.use.asked()

    def _cancel(self, pending: Pending) -> None:
        process = self.process
        if self.in_flight.forget(pending) and process is not None:
            self.tell(process, protocol.Cancel(pending.request))
