"""How long from exec to life, readiness and the first answer, with a cold model file on a slow device.

Run as root: `.venv/bin/python -m tests.bench.cold_start --help`; README.md beside this file says more.
"""

import compileall
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click

import edged
from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import figure, report, starts
from tests.bench.models import BenchModel, installed
from tests.bench.peers import llama_server
from tests.bench.process import BenchFailed
from tests.bench.starts import Start
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES, Limits

_STOCK = "stock mmap"
_PEER = "llama-server"
_CAPTION = (
    "Seconds from exec: median (range). floor: model file bytes / read rate; ratio: first answer / floor.\n"
    "Only the model file is cold: programs and libraries are in the page cache. The first request is sent\n"
    "as soon as the port answers, and repeated while it is refused. livez of llama-server: /health answers\n"
    "at all. Stock mmap is a bare script that loads as llama-cpp-python does by default: no server. The\n"
    "peers have the context that edged plans for the device."
)
_PREDICTED_CAPTION = (
    "What edged predicted at a first start on the device (nothing learnt yet) beside what it measured, in\n"
    "seconds from the start of the load. error: |measured - predicted| / measured, median of the starts."
)

_WITH_FLOOR = [name for name, limits in PROFILES.items() if limits.read_bytes_per_s is not None]
_COLUMNS = ("model", "device", "program", "livez", "readyz", "first answer", "floor", "ratio")
_PREDICTED_COLUMNS = (
    *("model", "device", "program", "ready, predicted", "measured", "error"),
    *("first answer, predicted", "measured", "error"),
)
_FIGURE_TEXTS = ("First answer after a cold start", "x the time that reading the whole model file takes")


@dataclass(frozen=True)
class Cell:
    """What is measured: a program with a model on a device. `program` is a peer, or edged with a strategy."""

    model: BenchModel
    profile: str
    program: str

    @property
    def is_edged(self) -> bool:
        """Whether `program` is a strategy of edged."""
        return self.program not in (_STOCK, _PEER)

    @property
    def floor_s(self) -> float:
        """Seconds to read the whole file."""
        rate = PROFILES[self.profile].read_bytes_per_s
        assert rate is not None
        return self.model.size_bytes / rate


Samples = Mapping[Cell, Sequence[Start]]


def measure(cell: Cell, plan: Mapping[str, Any] | None, peer: Path | None) -> Start:
    """One cold start; peers need the plan of edged and llama-server its program. Raises BenchFailed."""
    with Device(PROFILES[cell.profile]) as device:
        device.cold(cell.model.file)
        if cell.is_edged:
            return starts.edged(device, [cell.model], cell.program)
        if plan is None:
            raise BenchFailed("edged has not said what context it would give this model")
        if cell.program == _STOCK:
            return starts.stock(device, cell.model, plan)
        assert peer is not None
        return starts.peer(device, cell.model, plan, peer)


def run(cells: Sequence[Cell], repetitions: int, peer: Path | None) -> tuple[Samples, int]:
    """Measure every cell in turn, over and over, so that a change of the machine's mood hits all alike."""
    samples: dict[Cell, list[Start]] = defaultdict(list)
    plans: dict[tuple[BenchModel, str], dict[str, Any]] = {}
    failures = 0
    for repetition, cell in product(range(repetitions), cells):
        name = f"{cell.model.id}, {cell.profile}, {cell.program}, {repetition + 1} of {repetitions}"
        try:
            start = measure(cell, plans.get((cell.model, cell.profile)), peer)
        except BenchFailed as error:
            failures += 1
            click.echo(f"{name}: failed: {error}", err=True)
            continue
        samples[cell].append(start)
        if cell.is_edged:
            plans[cell.model, cell.profile] = start.plans[cell.model.id]
        click.echo(f"{name}: first answer after {start.answers_s[cell.model.id]:.2f} s", err=True)
    return samples, failures


def row(cell: Cell, samples: Sequence[Start]) -> list[str]:
    """One line of the table."""
    answers = [start.answers_s[cell.model.id] for start in samples]
    return [
        f"{cell.model.id} ({cell.model.size_bytes / 1e6:.0f} MB)",
        f"{cell.profile} ({cell.model.size_bytes / cell.floor_s / 1e6:.0f} MB/s)",
        f"edged, {cell.program}" if cell.is_edged else cell.program,
        report.seconds([start.livez_s for start in samples if start.livez_s is not None]),
        report.seconds([start.readyz_s for start in samples]),
        report.seconds(answers),
        f"{cell.floor_s:.2f}",
        report.ratio(answers, cell.floor_s),
    ]


def predicted_row(cell: Cell, samples: Sequence[Start]) -> list[str]:
    """Predicted beside measured, of a cell of edged."""
    columns = [cell.model.id, cell.profile, cell.program]
    for what in ("ready_s", "first_answer_s"):
        said = [start.statuses[cell.model.id] for start in samples]
        pairs = [(status[f"predicted_{what}"], status[f"measured_{what}"]) for status in said]
        known = [(predicted, measured) for predicted, measured in pairs if predicted and measured]
        columns.append(report.seconds([predicted for predicted, _ in known]))
        columns.append(report.seconds([measured for _, measured in known]))
        columns.append(report.percent(report.errors(known)))
    return columns


def _bars(samples: Samples) -> list[figure.Group]:
    """First answers as multiples of the floor, a group for each model and device."""
    groups: dict[str, list[figure.Bar]] = defaultdict(list)
    for cell, measured in samples.items():
        answers = [start.answers_s[cell.model.id] / cell.floor_s for start in measured]
        name = f"edged, {cell.program}" if cell.program not in (_STOCK, _PEER, "auto") else cell.program
        title = f"{cell.model.id}, {cell.model.size_bytes / cell.floor_s / 1e6:.0f} MB/s"
        groups[title].append(figure.Bar("edged" if cell.program == "auto" else name, answers))
    return [figure.Group(title, tuple(bars)) for title, bars in groups.items()]


@click.command()
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option(
    "--profile", "profiles", multiple=True, type=click.Choice(_WITH_FLOOR), help="Instead of sd20 and sd40."
)
@click.option(
    "--strategy", "strategies", multiple=True, help="For edged, instead of what it plans; may be repeated."
)
@click.option("--peer", "peers", multiple=True, type=click.Choice([_STOCK, _PEER]), help="Only this peer.")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
@click.option(
    "--figure", "drawing", type=click.Path(path_type=Path), help="Draw the first answers into an SVG file."
)
def main(
    models: tuple[str, ...],
    profiles: tuple[str, ...],
    strategies: tuple[str, ...],
    peers: tuple[str, ...],
    repetitions: int,
    folder: Path | None,
    drawing: Path | None,
) -> None:
    """Measure cold starts of edged, llama-server and stock llama-cpp-python on emulated devices."""
    reason = why_not(Limits(ram_bytes=1 << 30, read_bytes_per_s=20_000_000))
    if reason is not None:
        raise click.ClickException(reason)
    folder = folder or model_dir(Config())
    found = [model for model in installed(folder) if not models or model.id in models]
    if not found:
        raise click.ClickException(f"no model in {folder}: run `edged pull minilm smollm2`")
    compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does
    chosen = peers or (_PEER, _STOCK)
    programs = [*(strategies or ("auto",)), *chosen]
    cells = [Cell(*key) for key in product(found, profiles or ("sd20", "sd40"), programs)]
    try:
        samples, failures = run(cells, repetitions, llama_server.binary() if _PEER in chosen else None)
    except BenchFailed as error:
        raise click.ClickException(str(error)) from error
    lines = [row(cell, samples[cell]) for cell in cells]
    report.print_table("Cold start", _CAPTION, _COLUMNS, lines)
    lines = [predicted_row(cell, samples[cell]) for cell in cells if cell.is_edged]
    report.print_table("Predicted and measured", _PREDICTED_CAPTION, _PREDICTED_COLUMNS, lines)
    if drawing is not None:
        drawing.write_text(figure.bars(*_FIGURE_TEXTS, _bars(samples)))
    if failures:
        raise click.ClickException(f"{failures} of {len(cells) * repetitions} starts failed")


if __name__ == "__main__":
    main()
