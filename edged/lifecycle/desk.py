"""Where requests are handed to a model's runner, while it answers."""

import logging
from collections.abc import Callable

import msgspec

from edged.errors import Replaced, RunnerFailed
from edged.lifecycle.door import Door
from edged.lifecycle.events import Board
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.requests import Generation, InFlight, Pending
from edged.lifecycle.status import why_not_ready
from edged.runner import protocol

log = logging.getLogger(__name__)


class Desk:
    """For any thread. `process` and `retired` are the handle's to set, under the board's condition."""

    def __init__(self, board: Board, door: Door, in_flight: InFlight) -> None:
        self.board = board
        self.in_flight = in_flight
        self._door = door
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

    def _submit(
        self, make: Callable[[int], protocol.Generate | protocol.Embed | protocol.Warmup], n_answers: int = 1
    ) -> Pending:
        with self.board.changed:
            self.check_in_force()
            process = self.process
            if process is None or not self.answers:
                raise Replaced(why_not_ready(self.board.status), 1.0)
            self._door.came_in()
            if self.board.status.measured_first_answer_s is None and not self.in_flight:
                self.board.clock.asked()
            self.board.use.asked()
            pending = self.in_flight.begin(n_answers)
        try:
            process.send(make(pending.request))
        except BaseException:
            self.in_flight.forget(pending)
            raise
        return pending

    def _cancel(self, pending: Pending) -> None:
        process = self.process
        if self.in_flight.forget(pending) and process is not None:
            self.tell(process, protocol.Cancel(pending.request))
