"""An end to what llama.cpp cannot be interrupted in.

A grammar of a few lines can keep its parser or its sampler busy for years. The request is refused then, and
the process ends: a model that loads anew is better than one that never answers again.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRAMMAR_S = 5.0  # one parse or one token; those of honest grammars take milliseconds
GRAMMAR_TOO_SLOW = "grammar: takes too long to follow; make it less ambiguous"
EXIT_TOO_LONG = 71


@contextmanager
def at_most(limit_s: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Call `give_up` and end the process if the block takes longer than `limit_s`."""
    timer = threading.Timer(limit_s, lambda: _end(give_up))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Watch:
    """The same for blocks that follow each other, tokens say: one thread for all, and none until the first.

    A timer starts a thread each time, which takes as long as sampling.
    """

    def __init__(self, limit_s: float) -> None:
        """A block may take so long; the process ends at most as long after that."""
        self._limit_s = limit_s
        self._begun = threading.Event()
        self._until_s: float | None = None
        self._give_up: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, give_up: Callable[[], None]) -> Iterator[None]:
        """Call `give_up` and end the process if the block takes too long."""
        self._give_up = give_up
        self._until_s = time.monotonic() + self._limit_s
        if not self._begun.is_set():
            self._begun.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._until_s = None

    def _look(self) -> None:
        """Sleep while nothing has begun, else look after as long as one block may take."""
        while True:
            self._begun.wait()
            self._begun.clear()
            time.sleep(self._limit_s)
            until_s = self._until_s
            if until_s is None:
                continue
            time.sleep(max(0.0, until_s - time.monotonic()))
            if self._until_s == until_s:
                _end(self._give_up)


def _end(give_up: Callable[[], None]) -> None:
    try:
        give_up()
    finally:
        os._exit(EXIT_TOO_LONG)
