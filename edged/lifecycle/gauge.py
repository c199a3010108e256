"""What models may take of this machine's memory, measured while their runners come and go."""

import time
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from edged.config.schema import Bytes, Memory
from edged.hw.snapshot import MemoryFacts
from edged.policy.account import INEXACT_SHARE, budget_now

# What a runner held that ends is neither its own any more nor free yet, for as long as the kernel needs.
_SETTLES_S = 1.0
_REMEMBERED_S = 3.0


class MemoryGauge:
    """Not thread-safe: used under the lock of admission."""

    def __init__(
        self,
        memory: Memory,
        facts: Callable[[], MemoryFacts],
        held: Callable[[Collection[int]], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`facts` and `held` say what there is on this machine, and what processes hold of it."""
        self.memory = memory
        self.planned_bytes = 0  # the budget that the plans were made for
        self.cache_bytes = 0  # memory that models may not take, and in which their files stay cached
        self._facts = facts
        self.held = held
        self._clock = clock
        self.settled_bytes = 0  # the budget again, but while runners end the most that was measured lately
        self.there_bytes = 0  # likewise, but beyond it models hold too much, whatever was planned
        self._seen: deque[tuple[float, int, int]] = deque()  # when how much
        self._settled_at_s = 0.0

    def ended(self) -> None:
        """A runner has ended just now."""
        self._settled_at_s = self._clock() + _SETTLES_S

    @property
    def settles(self) -> bool:
        """Whether a runner has ended just now, so that more may be there in a moment."""
        return self._clock() < self._settled_at_s

    def read(self, pids: Collection[int], *, ending: bool, as_planned: bool) -> int:
        """The budget, with runners `pids` in it, of which some are `ending`.

        The plans share out all that there was, and half of the reserve is for what changes after that: else
        a few MiB more for another program would unload a model that had been planned.
        """
        held_bytes = self.held(pids)
        facts = self._facts()  # after it: what a runner takes in between must not count as available, too
        half = msgspec.structs.replace(self.memory, reserve=Bytes(self.memory.reserve // 2))
        now_bytes, most_bytes = (budget_now(facts, memory, held_bytes) for memory in (self.memory, half))
        least_bytes = self.planned_bytes if as_planned else min(self.planned_bytes, most_bytes)
        budget_bytes = max(now_bytes, least_bytes)
        unlimited = msgspec.structs.replace(self.memory, budget="auto")
        self.cache_bytes = max(0, budget_now(facts, unlimited, held_bytes) - budget_bytes)
        self._remember(budget_bytes, budget_now(facts, _lenient(half), held_bytes), ending=ending)
        return budget_bytes

    def _remember(self, budget_bytes: int, there_bytes: int, *, ending: bool) -> None:
        """Keep what was measured, or while a runner ends the most that was measured lately."""
        now_s = self._clock()
        if not (ending or self.settles):
            self._seen.clear()
        self._seen.append((now_s, budget_bytes, there_bytes))
        while now_s - self._seen[0][0] > _REMEMBERED_S:
            self._seen.popleft()
        self.settled_bytes = max(seen[1] for seen in self._seen)
        self.there_bytes = max(seen[2] for seen in self._seen)


def _lenient(memory: Memory) -> Memory:
    """With a budget that models may exceed by what predictions are inexact."""
    if memory.budget == "auto":
        return memory
    return msgspec.structs.replace(memory, budget=Bytes((1 + INEXACT_SHARE) * memory.budget))
