"""The share of a step that is spent outside llama.cpp's computation: scheduling, sampling, text, frames.

    .venv/bin/python -m tests.bench.step [--model-dir FOLDER] [--model smollm2] [--steps 48]

A runner's own engine generates in this process, and its frames go through a real socket to another one. The
time between the end of one `llama_decode` and the begin of the next is what everything else takes.
"""

import argparse
import itertools
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.config.paths import model_dir
from edged.config.schema import Config
from edged.runner import model as runner_model
from edged.runner import pulse
from edged.runner.loading import Prefetch
from edged.runner.main import load
from edged.runner.outbox import Outbox
from edged.runner.protocol import Generate, Sampling, Start
from edged.runner.renderer import Renderer
from edged.runner.serving import Loaded
from edged.runner.turns import Turns
from tests.bench.models import BenchModel, installed
from tests.bench.report import print_table

_SLOTS = 8
_LIMIT = 0.03  # of a step
_PROMPTS = (
    "Once upon a time there was a king who", "The history of bread begins", "To repair a bicycle you need",
    "In the middle of the ocean", "A good teacher always", "The train from Berlin to Prague",
    "Winter in the mountains is", "My grandmother used to say that",
)  # fmt: skip
_SAMPLINGS = {
    "temperature 0": (Sampling(temperature=0), None),
    "defaults (0.8)": (Sampling(seed=1), None),
    "with penalties": (Sampling(seed=1, repeat_penalty=1.1, presence_penalty=0.2), None),
    "temperature 0, 5 logprobs": (Sampling(temperature=0), 5),
}


@dataclass(frozen=True)
class Decode:
    """One call of llama_decode, on a monotonic clock."""

    begin_s: float
    end_s: float
    n_tokens: int


@contextmanager
def timed_decodes() -> Iterator[list[Decode]]:
    """Every call of `llama_decode` from here on."""
    library: Any = runner_model.llama  # type: ignore[attr-defined]  # it is replaced where the runner calls it
    original: Callable[[Any, Any], int] = library.llama_decode
    decodes: list[Decode] = []

    def timed(context: Any, batch: Any) -> int:
        begin_s = time.perf_counter()
        result = original(context, batch)
        decodes.append(Decode(begin_s, time.perf_counter(), batch.n_tokens))
        return result

    library.llama_decode = timed
    try:
        yield decodes
    finally:
        library.llama_decode = original


@contextmanager
def reader() -> Iterator[Outbox]:
    """An outbox whose frames another process takes."""
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen(["cat"], stdin=theirs.fileno(), stdout=subprocess.DEVNULL) as cat:
        theirs.close()
        try:
            yield Outbox(ours)
        finally:
            cat.send_signal(signal.SIGTERM)


@contextmanager
def loaded_model(model: BenchModel, threads: int, outbox: Outbox) -> Iterator[Loaded]:
    """A model with its engine."""
    start = Start(
        path=str(model.file), kind="generate", wait_for_prefetch=False, warmup=True, repack=False, n_ctx=1024,
        n_seq_max=_SLOTS, n_batch=512, n_ubatch=512, type_k="f16", type_v="f16", n_threads=threads,
        prefetch=(), random_access=(), mlock_bytes=0, max_queue_tokens=8192, max_queue_requests=_SLOTS,
    )  # fmt: skip
    renderer = Renderer.fork()
    pulse_fd = pulse.create()
    try:
        prefetch = Prefetch(start.path, (), outbox.send, Turns(None, 0))
        loaded = load(start, prefetch, outbox, pulse.Pulse(pulse_fd), renderer)
        try:
            yield loaded
        finally:
            loaded.stop()
            loaded.context.close()
            loaded.model.close()
            renderer.close()
    finally:
        os.close(pulse_fd)


def measure(
    loaded: Loaded,
    decodes: list[Decode],
    sampling: Sampling,
    top_logprobs: int | None,
    shape: tuple[int, int],
) -> tuple[list[float], list[float]]:
    """Seconds of each step, and of what it spent outside llama_decode; `shape` is (sequences, steps)."""
    n_sequences, n_steps = shape
    decodes.clear()
    for number, prompt in enumerate(_PROMPTS[:n_sequences]):
        request = Generate(
            id=number, text=prompt, sampling=sampling, max_tokens=n_steps, top_logprobs=top_logprobs
        )
        loaded.engine.submit(loaded.intake.sequence(request, loaded.intake.prompt(request)))
    pause_s = 0.1
    seen = -1
    while seen != len(decodes):  # nothing was computed for a while: all have ended
        seen = len(decodes)
        time.sleep(pause_s + (decodes[-1].end_s - decodes[-1].begin_s if decodes else 1.0) * 3)
    steps = [
        (later.end_s - earlier.end_s, later.begin_s - earlier.end_s)
        for earlier, later in itertools.pairwise(decodes)
        if earlier.n_tokens == later.n_tokens == n_sequences
    ]
    return [whole for whole, _ in steps], [outside for _, outside in steps]


def _rows(model: BenchModel, threads: int, n_steps: int) -> Iterator[tuple[list[str], float]]:
    with reader() as outbox, timed_decodes() as decodes, loaded_model(model, threads, outbox) as loaded:
        for n_sequences in (1, _SLOTS):
            for name, (sampling, top_logprobs) in _SAMPLINGS.items():
                whole, outside = measure(loaded, decodes, sampling, top_logprobs, (n_sequences, n_steps))
                share = sum(outside) / sum(whole)
                cells = [
                    model.id,
                    name,
                    str(n_sequences),
                    str(len(whole)),
                    f"{1000 * statistics.median(whole):.2f}",
                    f"{1000 * statistics.median(outside):.3f}",
                    f"{100 * share:.2f} %",
                ]
                yield cells, share


def main() -> int:
    """Print the table; 1 where a share is over the limit at 8 sequences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-dir", type=Path, default=model_dir(Config()))
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    models = [
        model
        for model in installed(options.model_dir)
        if model.kind == "generate" and (not options.model or model.id in options.model)
    ]
    if not models:
        parser.error(f"{options.model_dir}: none of these models is here; see `edged pull`")
    measured = [row for model in models for row in _rows(model, options.threads, options.steps)]
    print_table(
        "Steps of the engine",
        "ms: medians. outside: between the end of one llama_decode and the begin of the next",
        ["model", "sampling", "sequences", "steps", "step ms", "outside ms", "outside"],
        [cells for cells, _ in measured],
    )
    over = [cells for cells, share in measured if cells[2] == str(_SLOTS) and share > _LIMIT]
    for cells in over:
        print(f"over {100 * _LIMIT:.0f} %: {' '.join(cells)}")
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
