"""Whether the planner's choice is the right one: every way to load, measured beside what edged picks.

Run as root: `.venv/bin/python -m tests.bench.regret --help`; README.md beside this file says more.
"""

import compileall
import statistics
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click
import msgspec

import edged
from edged.config.paths import model_dir
from edged.config.schema import Config
from edged.gguf.header import read_header
from edged.gguf.repack import repacked_tensors
from edged.hw.cpu import cpu_facts
from tests.bench import device_memory, outcomes, quiet, report, starts
from tests.bench.edged_daemon import Settings
from tests.bench.models import BenchModel, installed
from tests.bench.outcomes import AUTO, Outcome, Prediction
from tests.bench.process import BenchFailed
from tests.device import page_cache
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES, Limits

_STRATEGIES = ("warm", "stream", "lazy")
_REPACKED = "warm+repack"
_ATTEMPTS = 3  # to find a moment in which nobody else computes
_PATIENCE_S = 15.0
_CAPTION = (
    "Objective: the first answer (mean over the models) to requests that are there when the port answers,\n"
    "in seconds from exec, since that is what a user of a box that was just switched on waits for. Ready\n"
    "time comes second: until loading.start_budget a model may take its time to be one that answers without\n"
    "waiting when it says it is ready. Both count only within the device's memory. Medians. regret: how\n"
    "much later the chosen way's first answer came than the best way's."
)
_ERROR_CAPTION = (
    "Seconds from the start of the load, median (range); error: |measured - predicted| / measured, median.\n"
    "Without `learnt`: a first start; learnt: the next one, which has measured device and model."
)
_COLUMNS = (
    *("device", "models", "start", "file", "chosen", "first answer", "ready"),
    *("best", "first answer", "ready", "ways", "regret"),
)
_ERROR_COLUMNS = (
    *("device", "models", "file", "way", "answer predicted", "learnt", "measured"),
    *("ready error", "learnt", "answer error", "learnt"),
)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Models on a device, with their files cold or cached."""

    profile: str
    models: tuple[BenchModel, ...]
    cache: str


def ways(models: Sequence[BenchModel]) -> list[dict[str, str]]:
    """Every combination of ways, by model; repacking only where this CPU has something to repack."""
    choices = []
    for model in models:
        header = read_header(model.file)
        repacks = repacked_tensors(header, cpu_facts().instruction_sets)
        choices.append((*_STRATEGIES, _REPACKED) if repacks else _STRATEGIES)
    names = [model.id for model in models]
    return [dict(zip(names, combination, strict=True)) for combination in product(*choices)]


def settings_of(way: dict[str, str]) -> Settings:
    """A way as settings of the models."""
    return {
        model: {"strategy": name.removesuffix("+repack"), "repack": name == _REPACKED}
        for model, name in way.items()
    }


def name_of(way: dict[str, str]) -> str:
    """`warm`, or `warm, stream` for two models."""
    return ", ".join(way.values())


def measure(cell: Cell, way: dict[str, str] | None, folder: Path, *, learnt: bool) -> Outcome:
    """One start; None is edged's own choice. A start that failed is an outcome, too."""
    asked = AUTO if way is None else name_of(way)
    outcome = Outcome(
        profile=cell.profile,
        cache=cell.cache,
        models=" + ".join(model.id for model in cell.models),
        asked=asked,
        way=asked,
        learnt=learnt,
    )
    for model in cell.models:
        page_cache.cold(model.file)
        if cell.cache == "cached":
            model.file.read_bytes()
    neighbours = quiet.Neighbours()
    with Device(PROFILES[cell.profile]) as device:
        try:
            start = starts.edged(device, cell.models, AUTO, settings_of(way) if way else {}, folder)
        except BenchFailed as error:
            return msgspec.structs.replace(
                outcome, failure=str(error), kills=device_memory.kills(device.folders)
            )
        return msgspec.structs.replace(
            outcome,
            way=name_of(_taken(start, cell.models)),
            ready_s=start.readyz_s,
            answer_s=statistics.mean(start.answers_s.values()),
            predictions={
                model: msgspec.convert(status, Prediction) for model, status in start.statuses.items()
            },
            kills=device_memory.kills(device.folders),
            restarts=sum(status["restarts"] for status in start.statuses.values()),
            swapped_bytes=device_memory.swapped_bytes(device.folders),
            others_cores=neighbours.cores(),
        )


def _taken(start: starts.Start, models: Sequence[BenchModel]) -> dict[str, str]:
    plans = [start.plans[model.id] for model in models]
    return {plan["model"]: plan["strategy"] + ("+repack" if plan["repack"] else "") for plan in plans}


def run(cells: Sequence[Cell], repetitions: int, results: Path) -> None:
    """Measure every way of every cell in pairs of starts, in turn; append what they came to."""
    with results.open("ab") as file:
        for _, cell in product(range(repetitions), cells):
            for way in (None, *ways(cell.models)):
                for outcome in pair(cell, way):
                    file.write(msgspec.json.encode(outcome) + b"\n")
                    file.flush()
                    click.echo(_line(outcome), err=True)


def pair(cell: Cell, way: dict[str, str] | None) -> list[Outcome]:
    """Two starts, the second with what the first has learnt; again when others disturbed them."""
    for attempt in range(_ATTEMPTS):
        quiet.wait_until_quiet(_PATIENCE_S)
        with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
            found = [measure(cell, way, Path(folder), learnt=learnt) for learnt in (False, True)]
        if max(one.others_cores for one in found) <= quiet.QUIET_CORES or attempt == _ATTEMPTS - 1:
            break
    return found


def _line(outcome: Outcome) -> str:
    name = f"{outcome.profile}, {outcome.models}, {outcome.cache}, {outcome.asked}"
    if outcome.failure is not None:
        return f"{name}: failed: {outcome.failure}"
    disturbed = (
        f" (others used {outcome.others_cores:.1f} cores)" if outcome.others_cores > quiet.QUIET_CORES else ""
    )
    return f"{name}: {outcome.way}, first answer after {outcome.answer_s:.2f} s{disturbed}"


def print_report(results: Path) -> None:
    """Tables and totals of everything that the file holds."""
    lines = results.read_bytes().splitlines()
    found = outcomes.settled(msgspec.json.decode(line, type=Outcome) for line in lines)
    verdicts = outcomes.verdicts(found)
    report.print_table("Regret", _CAPTION, _COLUMNS, outcomes.regret_rows(verdicts))
    report.print_table("Predictions", _ERROR_CAPTION, _ERROR_COLUMNS, outcomes.error_rows(found))
    for learnt in (False, True):
        click.echo(_summary(found, verdicts, learnt=learnt))
    click.echo(
        f"{len(found)} starts: {sum(one.kills for one in found)} processes killed, "
        f"{sum(one.restarts for one in found)} restarts, "
        f"{sum(one.swapped_bytes for one in found)} bytes swapped, "
        f"{sum(one.failure is not None for one in found)} failed"
    )


def _summary(found: Sequence[Outcome], verdicts: Sequence[outcomes.Verdict], *, learnt: bool) -> str:
    regrets = [verdict.regret for verdict in verdicts if verdict.learnt == learnt]
    ready, first_answer = (
        report.percent(outcomes.prediction_errors(found, what, learnt=learnt))
        for what in ("ready", "first_answer")
    )
    worst = f"{max(regrets):.1%}" if regrets else "-"
    return (
        f"{'learnt' if learnt else 'first start'}: regret median {report.percent(regrets)}, worst {worst} of "
        f"{len(regrets)} cells; prediction error median {ready} (ready), {first_answer} (first answer)"
    )


@click.command()
@click.option("--model", "models", multiple=True, help="Only this model; minilm+smollm2 are two at once.")
@click.option(
    "--profile", "profiles", multiple=True, type=click.Choice(list(PROFILES)), help="Only this device."
)
@click.option("--cached", is_flag=True, help="With the files in the page cache, instead of cold.")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True, help="Pairs of starts.")
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A file of JSON lines that measurements are appended to.",
)
@click.option("--report", "only_report", is_flag=True, help="Measure nothing: print what the file holds.")
def main(
    models: tuple[str, ...],
    profiles: tuple[str, ...],
    cached: bool,
    repetitions: int,
    folder: Path | None,
    results: Path,
    only_report: bool,
) -> None:
    """Measure every way to load on every device, and how much worse the planner's choice is than the best."""
    if not only_report:
        reason = why_not(Limits(ram_bytes=1 << 30, read_bytes_per_s=20_000_000))
        if reason is not None:
            raise click.ClickException(reason)
        found = {model.id: model for model in installed(folder or model_dir(Config()))}
        wanted = [name.split("+") for name in models or (*found, "minilm+smollm2")]
        missing = {name for names in wanted for name in names} - found.keys()
        if missing or not found:
            raise click.ClickException(f"not installed: {', '.join(sorted(missing)) or 'any model'}")
        cells = [
            Cell(
                profile=profile,
                models=tuple(found[name] for name in names),
                cache="cached" if cached else "cold",
            )
            for profile, names in product(profiles or PROFILES, wanted)
        ]
        compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does
        run(cells, repetitions, results)
    print_report(results)


if __name__ == "__main__":
    main()
