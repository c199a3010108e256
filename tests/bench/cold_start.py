"""How long from exec to life, readiness and the first answer, with a cold model file on a slow device.

Run as root: `.venv/bin/python -m tests.bench.cold_start --help`; README.md beside this file says more.
"""

import compileall
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click

import edged
from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import edged_daemon, report
from tests.bench.models import BenchModel, installed
from tests.bench.process import BenchFailed, TimedProcess
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES, Limits

_STOCK = "stock mmap"
_STOCK_SCRIPT = (sys.executable, str(Path(__file__).with_name("stock.py")))
_CAPTION = (
    "Seconds from exec: median (range). floor: model file bytes / read rate; ratio: first answer / floor.\n"
    "Only the model file is cold: Python, edged and llama.cpp are in the page cache. The first request is\n"
    "sent as soon as the port answers. Stock mmap is a bare script that loads as llama-cpp-python does by\n"
    "default: no server."
)


@dataclass(frozen=True)
class Sample:
    """One start, in seconds from exec. A bare script has no /livez; its model is ready when it is loaded."""

    livez_s: float | None
    readyz_s: float
    answer_s: float


@dataclass(frozen=True)
class Cell:
    """What is measured: a program with a model on a device. `program` is stock, or edged with a strategy."""

    model: BenchModel
    profile: str
    program: str


def measure_edged(device: Device, model: BenchModel, strategy: str) -> Sample:
    """Start the daemon; ask for life, readiness and an answer at the same time."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = edged_daemon.write_config(Path(folder, "edged.yaml"), [model], strategy)
        # the daemon ends before the thread is waited for, so that a hanging answer ends, too
        with ThreadPoolExecutor(1) as threads, edged_daemon.start(device.run, config) as daemon:
            client = edged_daemon.Client(daemon)
            status, _ = client.request("/livez")
            livez_s = daemon.elapsed_s()
            if status != 200:
                raise daemon.failure(f"/livez: {status}")
            answer_s = threads.submit(_answered_s, client, daemon, model)
            client.wait_until_ready()
            return Sample(livez_s, daemon.elapsed_s(), answer_s.result())


def _answered_s(client: edged_daemon.Client, daemon: TimedProcess, model: BenchModel) -> float:
    client.answer(model)
    return daemon.elapsed_s()


def measure_stock(device: Device, model: BenchModel) -> Sample:
    """Start the bare script and wait for what it prints."""
    with TimedProcess(device.run, [*_STOCK_SCRIPT, str(model.file), model.kind]) as script:
        script.wait_for_line(lambda line: line == "loaded\n")
        loaded_s = script.elapsed_s()
        script.wait_for_line(lambda line: line == "answered\n")
        return Sample(None, loaded_s, script.elapsed_s())


def measure(cell: Cell) -> Sample:
    """One cold start. Raises BenchFailed."""
    with Device(PROFILES[cell.profile]) as device:
        device.cold(cell.model.file)
        if cell.program == _STOCK:
            return measure_stock(device, cell.model)
        return measure_edged(device, cell.model, cell.program)


def row(cell: Cell, samples: list[Sample]) -> list[str]:
    """One line of the table."""
    rate = PROFILES[cell.profile].read_bytes_per_s
    assert rate is not None
    floor_s = cell.model.size_bytes / rate
    answers = [sample.answer_s for sample in samples]
    return [
        f"{cell.model.id} ({cell.model.size_bytes / 1e6:.0f} MB)",
        f"{cell.profile} ({rate / 1e6:.0f} MB/s)",
        cell.program if cell.program == _STOCK else f"edged, {cell.program}",
        report.seconds([sample.livez_s for sample in samples if sample.livez_s is not None]),
        report.seconds([sample.readyz_s for sample in samples]),
        report.seconds(answers),
        f"{floor_s:.2f}",
        report.ratio(answers, floor_s),
    ]


def run(cells: list[Cell], repetitions: int) -> tuple[dict[Cell, list[Sample]], int]:
    """Measure every cell in turn, over and over, so that a change of the machine's mood hits all alike."""
    samples: dict[Cell, list[Sample]] = defaultdict(list)
    failures = 0
    for repetition, cell in product(range(repetitions), cells):
        name = f"{cell.model.id}, {cell.profile}, {cell.program}, {repetition + 1} of {repetitions}"
        try:
            sample = measure(cell)
        except BenchFailed as error:
            failures += 1
            click.echo(f"{name}: failed: {error}", err=True)
        else:
            samples[cell].append(sample)
            click.echo(f"{name}: first answer after {sample.answer_s:.2f} s", err=True)
    return samples, failures


@click.command()
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option(
    "--profile", "profiles", multiple=True, type=click.Choice(list(PROFILES)), help="Only this device."
)
@click.option(
    "--strategy", "strategies", multiple=True, help="For edged, instead of what it plans; may be repeated."
)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
def main(
    models: tuple[str, ...],
    profiles: tuple[str, ...],
    strategies: tuple[str, ...],
    repetitions: int,
    folder: Path | None,
) -> None:
    """Measure cold starts of edged and of stock llama-cpp-python on emulated devices."""
    reason = why_not(Limits(ram_bytes=1 << 30, read_bytes_per_s=20_000_000))
    if reason is not None:
        raise click.ClickException(reason)
    folder = folder or model_dir(Config())
    found = [model for model in installed(folder) if not models or model.id in models]
    if not found:
        raise click.ClickException(f"no model in {folder}: run `edged pull minilm smollm2`")
    compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does
    programs = [*(strategies or ("auto",)), _STOCK]
    cells = [Cell(*key) for key in product(found, profiles or PROFILES, programs)]
    samples, failures = run(cells, repetitions)
    columns = ("model", "device", "program", "livez", "readyz", "first answer", "floor", "ratio")
    report.print_table("Cold start", _CAPTION, columns, [row(cell, samples[cell]) for cell in cells])
    if failures:
        raise click.ClickException(f"{failures} of {len(cells) * repetitions} starts failed")


if __name__ == "__main__":
    main()
