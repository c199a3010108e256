"""An end to what llama.cpp cannot be interrupted in.

A grammar of a few lines can keep its parser or its sampler busy for years. The request is refused then, and
the process ends: a model that loads anew is better than one that never answers again.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRAMMAR_S = 5.0  # one parse or one token; those of honest grammars take milliseconds
GRAMMAR_TOO_SLOW = "grammar: takes too long to follow; make it less ambiguous"
EXIT_TOO_LONG = 71


@contextmanager
def at_most(limit_s: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Call `give_up` and end the process if the block takes longer than `limit_s`."""

    def end() -> None:
        try:
            give_up()
        finally:
            os._exit(EXIT_TOO_LONG)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
