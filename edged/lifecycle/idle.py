"""Unloads what nobody has asked for during its keep-alive time."""

import threading
from collections.abc import Callable, Iterable

from edged.lifecycle.residence import Residence


class Idle:
    """Looks when a model comes to rest, and when its time is over. Its thread begins with the first look."""

    def __init__(self, residences: Callable[[], Iterable[Residence]]) -> None:
        self._residences = residences
        self._changed = threading.Condition()
        self._to_look = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """A model has come to rest, or its time has changed. Returns at once."""
        with self._changed:
            if self._closed:
                return
            self._to_look = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="idle", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Unload nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        wait_s = None
        while self._waited(wait_s):
            wait_s = self._unload()

    def _waited(self, wait_s: float | None) -> bool:
        """Return when it is time to look; False when it never is again."""
        with self._changed:
            self._changed.wait_for(lambda: self._to_look or self._closed, wait_s)
            self._to_look = False
            return not self._closed

    def _unload(self) -> float | None:
        """Unload what has had its time; returns how long the next one still has."""
        left = []
        for residence in self._residences():
            left_s = residence.rests_for_s()
            if left_s is not None and left_s <= 0:
                residence.leave("idle", only_if_idle=True)
            elif left_s is not None:
                left.append(left_s)
        return min(left, default=None)
