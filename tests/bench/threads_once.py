"""One process for `tests.bench.threads`: computes steps of a model as it is told, line by line.

Each line of stdin is `threads adapts tokens seconds`: how many threads, whether fewer may be used, a step's
tokens (up to 8: one for each of so many sequences; above: a prompt), for how long. Prints tokens per second.
"""

import ctypes
import sys
import time

from edged.runner.model import Context, Model
from edged.runner.protocol import Start

_SEQUENCES = 8
_POSITIONS = 400


def main() -> None:
    """Answer until stdin ends."""
    path = sys.argv[1]
    model = Model(_start(path, 1, adapts=False))
    print("ready", flush=True)
    for line in sys.stdin:
        n_threads, adapts, n_tokens, seconds = (float(word) for word in line.split())
        context = Context(model, _start(path, int(n_threads), adapts=bool(adapts)), ctypes.c_int(0))
        print(tokens_per_s(context, int(n_tokens), seconds), flush=True)
        context.close()


def tokens_per_s(context: Context, n_tokens: int, seconds: float) -> float:
    """Compute steps of so many tokens."""
    done, position = 0, 0
    begin_s = time.monotonic()
    while (elapsed_s := time.monotonic() - begin_s) < seconds:
        if n_tokens > _SEQUENCES or position == _POSITIONS:
            context.clear()
            position = 0
        if n_tokens > _SEQUENCES:
            context.compute([(0, 0, [100] * n_tokens, True)])
        else:
            context.compute([(sequence, position, [100], True) for sequence in range(n_tokens)])
            position += 1
        done += n_tokens
    return done / elapsed_s


def _start(path: str, n_threads: int, *, adapts: bool) -> Start:
    return Start(
        path=path, kind="generate", wait_for_prefetch=False, warmup=False, repack=False,
        n_ctx=512, n_seq_max=_SEQUENCES, n_batch=256, n_ubatch=256, type_k="f16", type_v="f16",
        n_threads=n_threads, adapt_threads=adapts, prefetch=(), random_access=(), mlock_bytes=0,
        max_queue_tokens=1, max_queue_requests=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
