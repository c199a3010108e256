"""What every case needs: the programs' names, and measurements that others did not disturb."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.bench.models import BenchModel
from tests.bench.quiet import QUIET_CORES, Neighbours, wait_until_quiet

_T = TypeVar("_T")
_PATIENCE_S = 5.0  # before each measurement
_TRIES = 4


class Turns:
    """Takes measurements one by one, each again when others used the CPUs meanwhile, while there is time."""

    def __init__(self, patience_s: float) -> None:
        self._deadline_s = time.monotonic() + patience_s
        self._taken: list[float] = []

    @property
    def others_cores(self) -> float:
        """What others used during the most disturbed measurement that had to count."""
        return max(self._taken, default=0.0)

    def take(self, measure: Callable[[int], _T]) -> _T:
        """The result of the first undisturbed try, or of the last one. `measure` is told which try it is.

        A try that asks what an earlier one has asked would find it cached.
        The look at the CPUs before is also what lets the program come to rest that was measured last: all of
        them are up at the same time, and their threads spin for a moment after their last work.
        """
        for attempt in range(_TRIES):
            left_s = self._deadline_s - time.monotonic()
            wait_until_quiet(max(0.01, min(_PATIENCE_S, left_s)))
            neighbours = Neighbours()
            result = measure(attempt)
            others = neighbours.cores()
            if others <= QUIET_CORES or attempt == _TRIES - 1 or time.monotonic() > self._deadline_s:
                break
        self._taken.append(others)
        return result


@dataclass(frozen=True)
class Setup:
    """The models by name, llama-server, and how often each side is measured, within about `patience_s`."""

    models: Mapping[str, BenchModel]
    program: Path
    repetitions: int
    turns: Turns = field(default_factory=lambda: Turns(0))
