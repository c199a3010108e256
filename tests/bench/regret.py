"""Whether the planner's choice is the right one: every way to load, measured beside what edged picks.

Run as root: `.venv/bin/python -m tests.bench.regret --help`; README.md beside this file says more.
"""

import compileall
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

import edged
from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import device_memory, grid, outcomes, quiet, report, starts
from tests.bench.edged_daemon import Settings
from tests.bench.grid import Cell, Task, Way
from tests.bench.models import BenchModel, installed
from tests.bench.outcomes import AUTO, Outcome, Prediction
from tests.bench.process import BenchFailed
from tests.device import page_cache
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES, Limits

_ATTEMPTS = 3  # to find a moment in which nobody else computes
_TASK_S = 150.0  # after that, nothing is measured again: a task stays below four minutes
_PATIENCE_S = 15.0
_NOTHING_MISSING = 3
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


def settings_of(way: Way) -> Settings:
    """A way as settings of the models."""
    return {
        model: {"strategy": name.removesuffix("+repack"), "repack": name == grid.REPACKED}
        for model, name in way.items()
    }


def measure(cell: Cell, way: Way | None, folder: Path, *, learnt: bool) -> Outcome:
    """One start; None is edged's own choice. A start that failed is an outcome, too."""
    profile, models, cache = cell.key
    asked = grid.asked_of(way)
    outcome = Outcome(profile=profile, cache=cache, models=models, asked=asked, way=asked, learnt=learnt)
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
            way=grid.asked_of(_taken(start, cell.models)),
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


def _taken(start: starts.Start, models: Sequence[BenchModel]) -> Way:
    plans = [start.plans[model.id] for model in models]
    return {plan["model"]: plan["strategy"] + ("+repack" if plan["repack"] else "") for plan in plans}


def run(task: Task, results: Path) -> None:
    """Measure one repetition of a cell; append what its starts came to.

    edged's own choice is measured in pairs: a first start, which knows nothing of device and model, and one
    with what that has learnt. The other ways take one start, mostly a first one, each third a learnt one.
    """
    until_s = time.monotonic() + _TASK_S
    with results.open("ab") as file, tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        for index, way in enumerate(task.ways):
            learnt = way is not None and task.ways[0] is None and task.number % 3 == 1
            own = Path(folder, "auto" if way is None or learnt else str(index))
            for outcome in _undisturbed(task.cell, way, own, until_s, learnt=learnt):
                file.write(msgspec.json.encode(outcome) + b"\n")
                file.flush()
                click.echo(_line(outcome), err=True)


def _undisturbed(cell: Cell, way: Way | None, folder: Path, until_s: float, *, learnt: bool) -> list[Outcome]:
    """The starts of one way; again when others disturbed them and there is time until `until_s`."""
    for _ in range(_ATTEMPTS):
        quiet.wait_until_quiet(_PATIENCE_S)
        if not learnt:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        kinds = (False, True) if way is None else (learnt,)
        found = [measure(cell, way, folder, learnt=kind) for kind in kinds]
        if max(one.others_cores for one in found) <= quiet.QUIET_CORES or time.monotonic() > until_s:
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


def kept(results: Path) -> list[Outcome]:
    """What the file holds; a line that a killed run left unfinished is no start."""
    lines = results.read_bytes().splitlines() if results.exists() else []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Outcome))
        except msgspec.DecodeError as error:
            click.echo(f"{results}: {error}: {line[:80]!r}", err=True)
    return found


def print_report(results: Path) -> None:
    """Tables and totals of everything that the file holds."""
    found = outcomes.settled(kept(results))
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
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True, help="Of each way.")
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A file of JSON lines that measurements are appended to; what it holds is not measured again.",
)
@click.option(
    "--slice", "one_slice", is_flag=True, help="Measure one repetition of one cell; exit 3: none is missing."
)
@click.option("--report", "only_report", is_flag=True, help="Measure nothing: print what the file holds.")
def main(
    models: tuple[str, ...],
    profiles: tuple[str, ...],
    cached: bool,
    repetitions: int,
    folder: Path | None,
    results: Path,
    one_slice: bool,
    only_report: bool,
) -> None:
    """Measure every way to load on every device, and how much worse the planner's choice is than the best."""
    if only_report:
        print_report(results)
        return
    wanted = _cells(models, profiles or tuple(PROFILES), folder or model_dir(Config()), cached=cached)
    compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does
    while (task := grid.next_task(wanted, kept(results), repetitions)) is not None:
        run(task, results)
        if one_slice:
            return
    if one_slice:
        sys.exit(_NOTHING_MISSING)
    print_report(results)


def _cells(names: Sequence[str], profiles: Sequence[str], folder: Path, *, cached: bool) -> list[Cell]:
    """What to measure. Raises ClickException where that is not possible."""
    reason = why_not(Limits(ram_bytes=1 << 30, read_bytes_per_s=20_000_000))
    if reason is not None:
        raise click.ClickException(reason)
    found = {model.id: model for model in installed(folder)}
    missing = {part for name in names for part in name.split("+")} - found.keys()
    if missing or not found:
        raise click.ClickException(f"not installed: {', '.join(sorted(missing)) or 'any model'}")
    if not names and not cached:
        return grid.whole(profiles, found)
    cold = grid.cells(profiles, names or list(found), found)
    return grid.cached(cold) if cached else cold


if __name__ == "__main__":
    main()
