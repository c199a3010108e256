"""How many tokens a micro-batch should have, found out while working. Pure.

A larger batch spreads the fixed cost of a graph over more texts, but attention costs its square, and caches
end somewhere: which size is fastest depends on the model, its weight format and the CPU.
"""

import statistics
from collections import deque

SIZES = (96, 128, 192, 256, 384, 512)
_FIRST = 192
_FULL_SHARE = 0.75  # of the size: a smaller batch says nothing about it
_KEPT = 7  # measurements per size, of which the median counts: other programs disturb some
_LEAST = 3  # measurements before a size is compared
_LEARN_EVERY = 4  # full batches between two of another size, while one is hardly known
_EXPLORE_EVERY = 32  # and later: nearly all run at the best size, and what changes is noticed
_WORTH = 0.97  # a smaller batch lets others through sooner: a larger one must be this much cheaper per token


class BatchSize:
    """The size that has been fastest so far, and now and then another one to compare with."""

    def __init__(self, most_tokens: int) -> None:
        """`most_tokens` is what the context takes in one batch."""
        self._sizes = tuple(size for size in SIZES if size <= most_tokens) or (most_tokens,)
        self._seconds_per_token: dict[int, deque[float]] = {size: deque(maxlen=_KEPT) for size in self._sizes}
        self._best = min(self._sizes, key=lambda size: abs(size - _FIRST))
        self._n_since_other = 0
        self._tried = dict.fromkeys(self._sizes, 0)
        self.tokens = self._best

    def measured(self, n_tokens: int, elapsed_s: float) -> None:
        """A batch of the size that `tokens` asked for took this long."""
        if not _FULL_SHARE * self.tokens <= n_tokens <= self.tokens:
            return
        self._seconds_per_token[self.tokens].append(elapsed_s / n_tokens)
        self._tried[self.tokens] += 1
        self._n_since_other = self._n_since_other + 1 if self.tokens == self._best else 0
        self._best = self._cheapest()
        other = self._least_known()
        every = _LEARN_EVERY if len(self._seconds_per_token[other]) < _LEAST else _EXPLORE_EVERY
        self.tokens = other if self._n_since_other >= every else self._best

    def _cheapest(self) -> int:
        cost = {
            size: statistics.median(seconds)
            for size, seconds in self._seconds_per_token.items()
            if len(seconds) >= _LEAST
        }
        if not cost:
            return self._best
        least = min(cost.values())
        return min(size for size in cost if cost[size] * _WORTH <= least)

    def _least_known(self) -> int:
        """Another size: a disturbed start must not hide one for ever."""
        others = [size for size in self._sizes if size != self._best]
        return min(others, key=lambda size: self._tried[size], default=self._best)
