"""A loaded model's memory, given back while nobody uses it, and had again for the next request.

`cool` keeps the process, the vocabulary and the context, and gives back what comes again by itself: the
file's pages, and what malloc holds in reserve. `shrink` gives back the context too (KV cells, buffers for
computing); prefixes that were asked for again are put on the shelf first. The next request finds the reader
at work, as after a load, and the context made anew.

What is pinned stays: the plan decided, or the user, that the model is of no use without it. Unloading frees
that as well.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Protocol

from edged.runner import protocol
from edged.runner.loading import Prefetch, ranges_to_warm, resident_bytes
from edged.runner.mapping import Rows, give_back, pin


class Engine(Protocol):
    """What computes, as far as it is told to rest."""

    def rest(self, give_back: Callable[[], None], wake: Callable[[], None], busy: Callable[[], None]) -> None:
        """Give memory back while nothing is to be done; `wake` is called before the next work."""

    def warm(self, request: int) -> None:
        """Run a batch for its own sake and say `Warmed`."""


class Context(Protocol):
    """A context that can be made anew."""

    def rest(self) -> None:
        """Give its memory back; every sequence is forgotten."""

    def wake(self) -> None:
        """Make it again, if it rests."""


class Serving(Protocol):
    """A loaded model, as far as it can give memory back."""

    @property
    def engine(self) -> Engine:
        """What computes."""

    @property
    def context(self) -> Context:
        """What it computes with."""

    @property
    def rows(self) -> Rows:
        """The token table's rows that were asked for."""

    @property
    def prefetch(self) -> Prefetch:
        """The file's reader."""

    def forget(self) -> None:
        """Keep what of the context is wanted again, and forget every sequence."""


class Warmth:
    """For the thread that reads frames; what it gives back it does on the engine's."""

    def __init__(
        self, start: protocol.Start, serving: Serving, send: Callable[[protocol.FromRunner], None]
    ) -> None:
        self._start = start
        self._serving = serving
        self._send = send
        self._reads_ahead = True
        self._held_back = False  # the reader was stopped before it was through, or all was given back

    def read_ahead(self, *, allowed: bool) -> None:
        """Read ahead of use from now on, or not; what is pinned is always read."""
        reader = self._serving.prefetch
        self._reads_ahead = allowed
        if not allowed and not reader.done and not self._start.mlock_bytes:
            self._held_back = True
            reader.stop()
        elif allowed and self._held_back:
            self._held_back = False
            reader.again(ranges_to_warm(self._start))

    def cool(self, frame: protocol.Cool) -> None:
        """Give memory back, unless there is something to compute, and say `Cooled`."""

        def rest() -> None:
            before_bytes = resident_bytes()
            self._stop_reading()
            if frame.shrink:
                self._serving.forget()
                self._serving.context.rest()
            self._serving.rows.forget()
            give_back(self._start.path)
            _trim()
            freed_bytes = max(0, before_bytes - resident_bytes())
            self._send(protocol.Cooled(done=True, shrunk=frame.shrink, freed_bytes=freed_bytes))

        def busy() -> None:
            self._send(protocol.Cooled(done=False))

        if self._start.mlock_bytes and not self._serving.prefetch.done:  # what is pinned is read first
            busy()
        else:
            self._serving.engine.rest(rest, self._wake, busy)

    def _stop_reading(self) -> None:
        """What is given back must not come again at once."""
        self._held_back = True
        if not self._serving.prefetch.done:
            self._serving.prefetch.stop()
            self._serving.prefetch.wait()

    def warm(self, request: int) -> None:
        """Read the whole file again and run a batch; requests and cancels do not wait for that."""

        def run() -> None:
            self._serving.prefetch.again(ranges_to_warm(self._start))
            self._serving.prefetch.wait()
            self._serving.engine.warm(request)

        threading.Thread(target=run, name="warmup", daemon=True).start()

    def _wake(self) -> None:
        """On the engine's thread, with work to do."""
        self._held_back = self._held_back and not self._reads_ahead
        if self._reads_ahead:
            reader = self._serving.prefetch
            reader.again(ranges_to_warm(self._start))
            reader.wait() if self._start.pass_waits else reader.wait_for_turn()
        self._serving.context.wake()


def _trim() -> None:
    """Give back what malloc keeps for later (glibc; elsewhere there is nothing to call)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def pin_behind(start: protocol.Start, prefetch: Prefetch) -> None:
    """Pin what the plan pins as soon as it has been read, while the model serves."""
    prefetch.wait()
    if not prefetch.stopped:
        pin(start.path, start.prefetch)
