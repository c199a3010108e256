"""A pull for a client, in a process of its own that ends with it: what it does and how it ends, by the line.

It takes numpy, pip and time, none of which the daemon has to spare. Started as
`python -m edged.lifecycle.fetch FOLDER NAME [CATALOG]`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from edged.errors import EdgedError
from edged.hw.memory import memory_facts
from edged.lifecycle.download import Line, Over, Said, Step
from edged.lifecycle.weights_speed import best_here
from edged.store import catalog
from edged.store.pull import Place, pull
from edged.store.request import Request, resolve

_INTERRUPTED = 130
_NICENESS = 10  # answers go first
_EVERY_S = 0.2


class _Lines:
    """A progress as lines, at most a few a second for each step."""

    def __init__(self) -> None:
        self._label = ""
        self._told_at_s = 0.0

    def say(self, text: str) -> None:
        _tell(Said(text))

    def advance(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        now_s = time.monotonic()
        if label == self._label and done_bytes != total_bytes and now_s - self._told_at_s < _EVERY_S:
            return
        self._label, self._told_at_s = label, now_s
        _tell(Step(label, done_bytes, total_bytes))


def place_for(folder: Path, *, force: bool = False, verify: bool = True) -> Place:
    """Where a model is pulled to, by this machine's memory and what is fastest on it."""
    facts = memory_facts()
    known = [size for size in (facts.total_bytes, facts.cgroup_limit_bytes) if size is not None]
    return Place(folder, min(known, default=None), force, verify, best_here(folder))


def _tell(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt  # as Ctrl-C: children are stopped, and what was received can be resumed


def main(folder: str, name: str, catalog_file: str | None = None) -> int:
    """Pull; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.nice(_NICENESS)
    try:
        known = catalog.load(Path(catalog_file) if catalog_file else None)
        pull(resolve(Request(name), known), place_for(Path(folder)), _Lines())
        _tell(Over())
    except EdgedError as error:
        _tell(Over(str(error)))
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):  # nobody waits for it any more
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
