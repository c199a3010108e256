"""Log probabilities of tokens, and when they may be sent: together with the text that they make. Pure."""

from collections import deque
from typing import Any

import numpy as np

from edged.runner.protocol import TokenLogprob

LEAST = -9999.0  # stands for minus infinity, which JSON does not have; OpenAI's own choice

Logits = np.ndarray[Any, np.dtype[np.float32]]


def log_probabilities(logits: Logits, token: int, n_top: int) -> tuple[float, list[tuple[int, float]]]:
    """The log probability of `token`, and the `n_top` likeliest tokens with theirs, from a full softmax."""
    shifted = logits - logits.max()
    total = np.log(np.exp(shifted).sum(dtype=np.float64))
    n_top = min(n_top, len(logits))
    top = np.argpartition(shifted, len(logits) - n_top)[len(logits) - n_top :] if n_top else np.empty(0, int)
    ordered = top[np.argsort(-shifted[top], kind="stable")]
    return _shown(shifted[token] - total), [(int(each), _shown(shifted[each] - total)) for each in ordered]


class Held:
    """Log probabilities that wait for their tokens' text to be released."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()

    def add(self, begins_at: int, entry: TokenLogprob) -> None:
        """A token whose text begins after `begins_at` characters of its answer."""
        self._waiting.append((begins_at, entry))

    def release(self, n_characters: int) -> tuple[TokenLogprob, ...]:
        """Those of tokens that begin within the first `n_characters`, which were sent."""
        released = []
        while self._waiting and self._waiting[0][0] < n_characters:
            released.append(self._waiting.popleft()[1])
        return tuple(released)

    def release_all(self) -> tuple[TokenLogprob, ...]:
        """At an end that cuts nothing off: also those whose tokens have no text."""
        released = tuple(entry for _, entry in self._waiting)
        self._waiting.clear()
        return released


def _shown(value: Any) -> float:
    return max(LEAST, float(value)) if np.isfinite(value) else LEAST
