"""Where requests are handed to a model's runner, while it answers."""

import logging
from collections.abc import Callable

import msgspec

from edged.errors import Replaced, RunnerFailed
from edged.lifecycle.events import Board
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.requests import Generation, InFlight, Pending
from edged.runner import protocol

log = logging.getLogger(__name__)

_Asked = protocol.Generate | protocol.Embed | protocol.Warmup | protocol.Cool


class Desk:
    """For any thread. `process` and `retired` are the handle's to set, under the board's condition."""

    def __init__(self, board: Board, in_flight: InFlight) -> None:
        self._board = board
        self._in_flight = in_flight
        self.process: RunnerProcess | None = None
        self.retired = False

    def check_in_force(self) -> None:
        """Raises Replaced once the model has given way to another configuration."""
        if self.retired:
            raise Replaced(f"model {self._board.status.model} is being reloaded", 1.0)

    def tell(self, process: RunnerProcess, frame: protocol.ToRunner) -> None:
        """Send what a runner need not hear if it has just ended."""
        try:
            process.send(frame)
        except RunnerFailed as error:
            log.debug("%s: %s", self._board.status.model, error)

    def generate(self, request: protocol.Generate) -> Generation:
        """As `RunnerHandle.generate`."""
        pending = self._submit(lambda number: msgspec.structs.replace(request, id=number), request.n)
        return Generation(pending, lambda: self._cancel(pending))

    def embed(
        self, request: protocol.Embed, deadline: float, check: Callable[[], None]
    ) -> protocol.Embeddings:
        """As `RunnerHandle.embed`."""
        pending = self._submit(lambda number: msgspec.structs.replace(request, id=number))
        try:
            return pending.embeddings(len(request.texts) + len(request.token_lists), deadline, check)
        finally:
            self._cancel(pending)

    def warmup(self, deadline: float) -> float:
        """As `RunnerHandle.warmup`."""
        pending = self._submit(protocol.Warmup)
        try:
            return pending.warmed(deadline).elapsed_s
        finally:
            self._cancel(pending)

    def cool(self, deadline: float, *, shrink: bool) -> protocol.Cooled:
        """As `RunnerHandle.cool`."""
        pending = self._submit(lambda number: protocol.Cool(number, shrink), for_use=False)
        try:
            return pending.cooled(deadline)
        finally:
            self._in_flight.forget(pending)

    def _submit(self, make: Callable[[int], _Asked], n_answers: int = 1, *, for_use: bool = True) -> Pending:
        with self._board.changed:
            self.check_in_force()
            process = self.process
            if process is None or not self._board.is_ready:
                self._board.refuse(1.0)
            if for_use:
                self._used()
            pending = self._in_flight.begin(n_answers)
        try:
            process.send(make(pending.request))
        except BaseException:
            self._in_flight.forget(pending)
            raise
        return pending

    def _used(self) -> None:
        """Somebody asks for an answer. Under the board's condition."""
        if self._board.status.cooled is not None:
            self._board.set(cooled=None)
        if self._board.status.measured_first_answer_s is None and not self._in_flight:
            self._board.clock.asked()

    def _cancel(self, pending: Pending) -> None:
        process = self.process
        if self._in_flight.forget(pending) and process is not None:
            self.tell(process, protocol.Cancel(pending.request))
