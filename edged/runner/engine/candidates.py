"""The few tokens among which a sampler decides, found without sorting a vocabulary. Pure."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import numpy as np

_ROWS = 64  # of the table whose columns' maxima are compared: the fastest for 49,000 and 262,000 tokens

Logits = np.ndarray[Any, np.dtype[np.float32]]
Tokens = np.ndarray[Any, np.dtype[np.intp]]

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


def likeliest(logits: Logits, count: int) -> Tokens | None:
    """At least the `count` tokens with the highest logits, in order of their ids; None: better take all.

    `count` columns of a table have a maximum of at least the `count`-th highest maximum, so that many logits
    reach it.
    """
    n_columns = len(logits) // _ROWS
    if not 0 < count <= n_columns // 4:
        return None
    in_table = _ROWS * n_columns
    table = logits[:in_table].reshape(_ROWS, n_columns)
    highest = table.max(axis=0)
    bound = np.partition(highest, n_columns - count)[n_columns - count]
    columns = np.flatnonzero(highest >= bound)
    if not count <= len(columns) <= n_columns // 2:  # NaN, or a flat distribution
        return None
    row, column = np.nonzero(table[:, columns] >= bound)
    found: Tokens = np.sort(row * n_columns + columns[column])
    return np.concatenate((found, in_table + np.flatnonzero(logits[in_table:] >= bound)))


def candidates(logits: Logits, tokens: Tokens | None) -> np.ndarray[Any, Any]:
    """Some tokens (or all) as llama.cpp's samplers take them."""
    ids = np.arange(len(logits)) if tokens is None else tokens
    made = np.zeros(len(ids), CANDIDATE)
    made["id"] = ids
    made["logit"] = logits[ids]
    return made


class Recent:
    """The different tokens among the last so many: those that penalties touch."""

    def __init__(self, last_n: int, tokens: Iterable[int]) -> None:
        self._window: deque[int] = deque(tokens, maxlen=last_n)
        self._counts = Counter(self._window)

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, token: int) -> None:
        """One more token; the oldest may leave."""
        if len(self._window) == self._window.maxlen:
            oldest = self._window[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._window.append(token)
        self._counts[token] += 1

    def tokens(self) -> list[int]:
        """Each once."""
        return list(self._counts)
