"""Speed of real models with and without repacked weights, beside what the measurement on a tiny one foretold.

Run it as any user: `.venv/bin/python -m tests.bench.repack --help`; README.md beside this file says more.
"""

import ctypes
import os
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from edged.config.paths import model_dir
from edged.config.schema import Config, Model
from edged.gguf.header import GgufHeader, read_header
from edged.hw.cpu import cpu_facts
from edged.hw.snapshot import HardwareSnapshot, MemoryFacts
from edged.lifecycle.repack_gain import GainMeter, Work, llama_build
from edged.policy.plan import plan
from edged.policy.repacking import not_measured, repacking_of
from edged.policy.types import LoadPlan, Measured, ModelInput, PlanSettings, RepackGain
from edged.runner.model import Context
from edged.runner.model import Model as Loaded
from edged.runner.protocol import Start
from tests.bench import report
from tests.bench.models import installed
from tests.quantized import cached_q4_0

_N_ANSWER = 32
_MEASURE_S = 120.0
_CAPTION = (
    "Tokens per second; x is the median with repacking over the median without. The passes take turns.\n"
    "foretold: by the tiny model's ratios and this model's share of weights that are repacked."
)


@dataclass
class Speeds:
    """Tokens per second of every pass."""

    prompt: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Loading:
    """A real model loaded in one of the two ways."""

    context: Context
    n_vocab: int
    load_s: float
    speeds: Speeds = field(default_factory=Speeds)

    def pass_over(self, n_prompt: int) -> tuple[float, float]:
        """Compute a prompt of `n_prompt` random tokens and an answer; returns both speeds."""
        source = random.Random(0)
        tokens = [source.randrange(1000, self.n_vocab - 1) for _ in range(n_prompt)]
        self.context.clear()
        began_s = time.perf_counter()
        self.context.compute([(0, 0, tokens, True)])
        answered_s = time.perf_counter()
        for position in range(n_prompt, n_prompt + _N_ANSWER):
            self.context.compute([(0, position, tokens[:1], True)])
        return n_prompt / (answered_s - began_s), _N_ANSWER / (time.perf_counter() - answered_s)


def load(file: Path, repack: bool, n_prompt: int, n_threads: int) -> Loading:
    """Load as a runner does."""
    start = Start(
        path=str(file),
        kind="generate",
        wait_for_prefetch=False,
        warmup=False,
        repack=repack,
        n_ctx=n_prompt + _N_ANSWER,
        n_seq_max=1,
        n_batch=n_prompt,
        n_ubatch=n_prompt,
        type_k="f16",
        type_v="f16",
        n_threads=n_threads,
        prefetch=(),
        random_access=(),
        mlock_bytes=0,
        max_queue_tokens=1,
        max_queue_requests=1,
    )
    began_s = time.perf_counter()
    model = Loaded(start)
    load_s = time.perf_counter() - began_s
    return Loading(Context(model, start, ctypes.c_int(0)), model.vocabulary.size, load_s)


def gains(inputs: Sequence[ModelInput], n_threads: int) -> dict[str, RepackGain]:
    """What edged measures for these models when it is idle, by the same process."""
    found: dict[str, RepackGain] = {}
    wanted = not_measured(inputs, cpu_facts(), llama_build(), Measured())
    done = threading.Semaphore(0)

    def keep(key: str, gain: RepackGain) -> None:
        found[key] = gain
        done.release()

    lease_fd = os.memfd_create("lease")
    meter = GainMeter(keep, quiet_s=0.0)
    meter.begin(Work(weight_types=wanted, n_threads=n_threads, lease_fd=lease_fd, is_idle=lambda: True))
    for _ in wanted:
        if not done.acquire(timeout=_MEASURE_S):
            raise click.ClickException("what repacking gains could not be measured; is the machine busy?")
    meter.close()
    os.close(lease_fd)
    return found


def planned(one: ModelInput, measured: Measured) -> LoadPlan:
    """edged's choice on this CPU where memory and storage are no matter."""
    unlimited = HardwareSnapshot(memory=MemoryFacts(), cpu=cpu_facts())
    (chosen,) = plan(
        unlimited, [one], PlanSettings(lazy_available=False, llama_build=llama_build()), measured
    )
    return chosen


def _input(file: Path) -> ModelInput:
    return ModelInput(id=file.stem, model=Model(file=str(file)), header=read_header(file))


def row(one: ModelInput, measured: Measured, repetitions: int, n_prompt: int, n_threads: int) -> list[str]:
    """Measure one model: a line of the table."""
    ways = [load(Path(one.path), repack, n_prompt, n_threads) for repack in (False, True)]
    for repetition in range(repetitions + 1):
        for way in ways:
            prompt, answer = way.pass_over(n_prompt)
            if repetition:  # the first one touches all pages
                way.speeds.prompt.append(prompt)
                way.speeds.answer.append(answer)
    plain, packed = ways
    expected = repacking_of(one.header, "generate", cpu_facts(), llama_build(), measured)
    return [
        one.id[:24],
        _types(one.header),
        "on" if planned(one, measured).repack else "off",
        _rates(plain.speeds.prompt),
        _rates(packed.speeds.prompt),
        _ratio(packed.speeds.prompt, plain.speeds.prompt),
        "-" if expected is None else f"x{expected.prompt_ratio:.2f}",
        _rates(plain.speeds.answer),
        _rates(packed.speeds.answer),
        _ratio(packed.speeds.answer, plain.speeds.answer),
        f"{packed.load_s - plain.load_s:+.2f}",
        "0" if expected is None else f"{expected.copied_bytes / (1 << 20):.0f}",
    ]


def _types(header: GgufHeader) -> str:
    names: dict[str, int] = {}
    for tensor in header.tensors:
        if "blk." in tensor.name and len(tensor.dims) > 1:
            names[tensor.type_name] = names.get(tensor.type_name, 0) + tensor.size_bytes
    return " ".join(sorted(names, key=lambda name: -names[name]))


def _rates(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.0f} ({min(samples):.0f}-{max(samples):.0f})"


def _ratio(packed: Sequence[float], plain: Sequence[float]) -> str:
    return f"x{statistics.median(packed) / statistics.median(plain):.2f}"


@click.command()
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
@click.option("--file", "files", type=click.Path(path_type=Path), multiple=True, help="Another model file.")
@click.option("--repetitions", type=click.IntRange(min=3), default=5, show_default=True)
@click.option("--prompt", "n_prompt", type=click.IntRange(min=16), default=256, show_default=True)
def main(folder: Path | None, files: tuple[Path, ...], repetitions: int, n_prompt: int) -> None:
    """Compare what repacking gains with what edged foretells, and show what it decides."""
    generating = [
        model.file for model in installed(folder or model_dir(Config())) if model.kind == "generate"
    ]
    if not generating:
        raise click.ClickException("no model: run `edged pull smollm2`, or name its folder by --model-dir")
    inputs = [_input(file) for file in (*generating, *map(cached_q4_0, generating), *files)]
    n_threads = cpu_facts().usable_cores or 1
    measured = Measured(repack_gains=gains(inputs, n_threads))
    for key, gain in measured.repack_gains.items():
        name = key.rpartition("|")[2]
        click.echo(f"tiny model, {name}: prompt x{gain.prompt_ratio:.2f}, answer x{gain.answer_ratio:.2f}")
    rows = [row(one, measured, repetitions, n_prompt, n_threads) for one in inputs]
    columns = ["model", "block weights", "plan: repack", "prompt", "repacked", "x", "foretold x"]
    columns += ["answer", "repacked", "x", "load s", "MiB copied"]
    report.print_table("What repacking gains on this CPU", _CAPTION, columns, rows)


if __name__ == "__main__":
    main()
