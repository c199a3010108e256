"""Watching one runner for signs of life, so that one that hangs is replaced like one that crashed."""

import math
import time
from typing import Protocol

from edged.errors import RunnerFailed
from edged.lifecycle.events import Board
from edged.lifecycle.signs import Signs

_LOOK_EVERY_S = 15.0
_LOOK_WHILE_LOADING_S = 1.0  # its progress is shown
_OVERDUE_S = 30.0  # a supervisor may send or reap for so long in between


class Hung(RunnerFailed):
    """A runner has shown no sign of life for too long."""


class Watched(Protocol):
    """A runner's process, as far as it is watched."""

    def signs(self, *, loading: bool) -> Signs:
        """Its present signs."""

    def ping(self) -> None:
        """Ask for a beat."""


class Vigil:
    """Looks after one runner from its start to its end. For its supervisor, but for `is_kept`."""

    def __init__(self, process: Watched, board: Board, hang_s: float, load_s: float) -> None:
        """A runner that shows nothing for `hang_s` hangs; a load may take `load_s`."""
        self._process = process
        self._board = board
        self._hang_s = hang_s
        self._load_s = load_s
        self._signs = Signs()
        self._next_s = self._moved_s = time.monotonic()

    @property
    def is_kept(self) -> bool:
        """Whether the supervisor still looks."""
        return time.monotonic() - self._next_s < _OVERDUE_S

    def patience_s(self) -> float | None:
        """How long the supervisor may wait for what the runner says.

        Raises Hung, and RunnerFailed when the load takes too long.
        """
        state = self._board.status.state
        if state == "ready":
            return self._look(loading=False)
        if state != "loading":  # an unload has a deadline of its own
            self._next_s = math.inf
            return None
        left_s = self._load_s - self._board.clock.elapsed_s
        if left_s <= 0:
            raise RunnerFailed(f"the load took longer than loading.load_timeout ({self._load_s:g} s)")
        return min(left_s, self._look(loading=True))

    def _look(self, *, loading: bool) -> float:
        """Look, if it is time to; returns how long it is until the next time."""
        now_s = time.monotonic()
        every_s = min(self._hang_s / 4, _LOOK_WHILE_LOADING_S if loading else _LOOK_EVERY_S)
        if now_s < self._next_s:
            return self._next_s - now_s
        was_held_up = now_s - self._next_s > every_s  # edged itself was stopped, perhaps with its runners
        signs = self._process.signs(loading=loading)
        if signs != self._signs or was_held_up:
            self._signs, self._moved_s = signs, now_s
        elif now_s - self._moved_s >= self._hang_s:
            raise Hung(
                f"the runner hangs: it has shown no sign of life for {self._hang_s:g} s"
                f" (loading.hang_timeout){' while it was loading' if loading else ''}"
            )
        self._board.moved_s = self._moved_s
        if not loading:
            self._process.ping()
        self._next_s = now_s + every_s
        return every_s
