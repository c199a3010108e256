"""Log probabilities of tokens. Pure."""

from typing import Any

import numpy as np

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


def _shown(value: Any) -> float:
    return max(LEAST, float(value)) if np.isfinite(value) else LEAST
