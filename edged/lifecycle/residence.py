"""How long a loaded model stays: until others need its room, or until nobody has asked for it for a while."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edged.lifecycle.door import Door, Leaving
from edged.lifecycle.events import Board
from edged.lifecycle.requests import InFlight
from edged.lifecycle.status import UnloadCause
from edged.lifecycle.supervision import Supervision
from edged.policy.demand import Demand

_BeginUnloading = Callable[[UnloadCause], Callable[[], None] | None]


class Residence:
    """One model's. Its owner tells when a runner has ended; any thread may do the rest."""

    def __init__(
        self, board: Board, door: Door, supervision: Supervision, begin_unloading: _BeginUnloading
    ) -> None:
        """`begin_unloading`, called under the condition, returns what ends the runner; None without one."""
        self.in_flight = InFlight(self.rest)
        self.when_at_rest: Callable[[], None] = lambda: None  # called when its time may begin to run
        self._board = board
        self._door = door
        self._supervision = supervision
        self._begin_unloading = begin_unloading
        self._kept_s: float | None = None  # what a request asked for, in place of the configuration
        self.follow(supervision)

    def follow(self, supervision: Supervision) -> None:
        """Go on by other settings."""
        with self._board.changed:
            self._supervision = supervision
            self._door.linger_s = supervision.linger_s
            self._board.set(pinned=supervision.pinned)
            self._show()
        self.rest()

    # ---- what others ask for who need its room; they may hold a lock of their own ----

    @property
    def model(self) -> str:
        """Its name."""
        return self._board.status.model

    @property
    def pid(self) -> int | None:
        """Of its runner."""
        return self._board.status.pid

    @property
    def is_pinned(self) -> bool:
        """Whether it never gives way."""
        return self._supervision.pinned

    @property
    def is_urgent(self) -> bool:
        """Whether others are to give way for it: somebody waits for it, or will be back soon."""
        return self._door.is_urgent

    @property
    def is_wanted(self) -> bool:
        """Whether it is still to be loaded."""
        return not self._board.unloading

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer of it, or is about to ask."""
        return bool(self.in_flight) or self._door.somebody_asks

    @property
    def idle_s(self) -> float:
        """Since when it has had nothing to do, or has been ready; 0 while it is busy, or not loaded."""
        with self._board.changed:
            if not self._board.is_ready or self.is_busy:
                return 0.0
            return time.monotonic() - self._idle_since_s()

    @property
    def demand(self) -> Demand:
        """How it was used."""
        return self._door.demand

    def inherit(self, before: "Residence") -> None:
        """Take over what is known of the use of the same model."""
        self._door.demand = before.demand

    def wait_for_room(self, why: str) -> None:
        """Show what its load waits for."""
        with self._board.changed:
            if not self._board.unloading:
                self._board.set(phase="room", reason=why)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Within this, somebody is about to submit a request: a model that comes up stays until then."""
        try:
            with self._door.asking():
                yield
        finally:
            self.rest()

    # ---- leaving ----

    def leave(self, cause: UnloadCause, *, only_if_idle: bool = False) -> None:
        """Be unloaded as soon as the requests are answered that were taken or are about to come in.

        Returns at once. Whoever asks later waits, and loads the model again.
        """
        with self._board.changed:
            if not self._board.is_ready or self._door.leaving is not None:
                return
            if only_if_idle and self.is_busy:
                return
            leaving = self._door.begin_leaving(cause)
            self._board.set(leaving=cause)
        name = f"leave-{self.model}"
        threading.Thread(target=self._see_off, args=(leaving,), name=name, daemon=True).start()

    def stay(self) -> None:
        """Do not leave after all, unless it is too late for that."""
        with self._board.changed:
            if self._board.is_ready:
                self.forget_leaving()
        self.rest()

    def forget_leaving(self) -> None:
        """Nobody is to leave any more. Under the condition."""
        self._door.stay()
        self._board.set(leaving=None)

    def _see_off(self, leaving: Leaving) -> None:
        """Unload when nobody is left; return when it is not to leave any more."""
        end = None
        while end is None:
            self.in_flight.wait_until_none()
            with self._board.changed:
                if not self._board.is_ready or self._door.leaving is not leaving:
                    return
                if self.in_flight:
                    continue
                if leaving.expected:
                    self._board.changed.wait()
                else:
                    end = self._begin_unloading(leaving.cause)
        end()

    # ---- keep-alive ----

    def keep(self, keep_alive_s: float) -> None:
        """Stay for so long without requests, until it is unloaded; below zero: as long as there is room."""
        with self._board.changed:
            self._kept_s = keep_alive_s if keep_alive_s >= 0 else math.inf
            self._show()
        self.rest()

    def unloaded(self) -> None:
        """What a request asked for has had its time. Under the condition."""
        self._kept_s = None
        self._show()

    def rest(self) -> None:
        """Nobody asks for anything: tell whoever unloads what is idle, if it is to be."""
        if math.isfinite(self._keep_alive_s):
            self.when_at_rest()

    def rests_for_s(self) -> float | None:
        """Seconds until it is to be unloaded as idle; None when it is not."""
        with self._board.changed:
            keep_s = self._keep_alive_s
            if not self._board.is_ready or self.is_busy or math.isinf(keep_s):
                return None
            return self._idle_since_s() + keep_s - time.monotonic()

    def _idle_since_s(self) -> float:
        ready_at_s = time.monotonic() - self._board.clock.served_s
        return max(ready_at_s, self.in_flight.none_since_s, self._door.last_asked_s)

    @property
    def _keep_alive_s(self) -> float:
        if self._supervision.pinned:
            return math.inf
        return self._supervision.keep_alive_s if self._kept_s is None else self._kept_s

    def _show(self) -> None:
        keep_s = self._keep_alive_s
        self._board.set(keep_alive_s=keep_s if math.isfinite(keep_s) else None)
