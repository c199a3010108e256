"""How fast files of one embedding model in several weight formats are on this CPU.

A process of its own, `python -m edged.runner.weights_speed N_THREADS FILE...`, which llama.cpp may end.
Prints the seconds per token of each file as a JSON list, measured in turns.
"""

import statistics
import sys
import time

import msgspec

from edged.runner.model import Context
from edged.runner.trial import Trial

# Requests as people send them: one short text, and a batch of them.
_TEXT_TOKENS = 24
_BATCHES = (1, 8)
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 25
_ENOUGH_S = 2.0


def main() -> int:
    """Measure and print; returns the exit code."""
    n_threads, *paths = sys.argv[1:]
    n_batch, n_seq_max = max(_BATCHES) * _TEXT_TOKENS, max(_BATCHES)
    trial = Trial(kind="embed", n_ctx=n_batch, n_batch=n_batch, n_seq_max=n_seq_max, n_threads=int(n_threads))
    contexts = [trial.context(path) for path in paths]
    print(msgspec.json.encode(measure(contexts)).decode(), flush=True)
    return 0


def measure(contexts: list[Context]) -> list[float]:
    """Seconds per token: of both kinds of requests the median of all rounds, and of those the mean."""
    seconds: list[dict[int, list[float]]] = [{n: [] for n in _BATCHES} for _ in contexts]
    end_s = time.monotonic() + _ENOUGH_S
    for count in range(_MOST_ROUNDS):
        if count > _LEAST_ROUNDS and time.monotonic() >= end_s:
            break
        for context, taken in zip(contexts, seconds, strict=True):
            for n_texts in _BATCHES:
                took_s = _pass(context, n_texts)
                if count:  # the first one reads the file
                    taken[n_texts].append(took_s)
    return [
        statistics.fmean(statistics.median(taken[n]) / (n * _TEXT_TOKENS) for n in _BATCHES)
        for taken in seconds
    ]


def _pass(context: Context, n_texts: int) -> float:
    began_s = time.perf_counter()
    context.compute([(index, 0, [1 + index] * _TEXT_TOKENS, 1) for index in range(n_texts)])
    context.clear()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    sys.exit(main())
