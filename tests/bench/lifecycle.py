"""Many models in little memory: a trace replayed, and what a swap of two models takes.

Run as root: `.venv/bin/python -m tests.bench.lifecycle --help`; README.md beside this file says more.
"""

import compileall
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

import edged
from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import replay, report, swap, traces
from tests.bench.fleet import fleet
from tests.bench.models import installed
from tests.bench.process import BenchFailed
from tests.device.device import why_not
from tests.device.limits import PROFILES

_CONTENDERS = ("edged", "edged, 2 by count", "edged, 3 by count", "router, 2 by count", "router, 3 by count")
_COLUMNS = (
    *("contender", "requests", "failed", "wait p50", "p95", "mean", "embeddings p50", "p95"),
    *("MB read", "loads", "evictions", "killed", "others' cores"),
)
_CAPTION = (
    "Seconds from the request to its whole answer. by count: the model leaves that was not asked for the\n"
    "longest when more than so many are loaded; router is llama-server's. killed: processes that the kernel\n"
    "ended for want of memory. Several replays of a contender are put together, counts per replay."
)
_SWAP_COLUMNS = ("to", "page cache", "contender", "seconds", "of llama-server")
_SWAP_CAPTION = (
    "Seconds from a request for one of two models, of which only one may be loaded, to its first token:\n"
    "median (range), by turns in one run."
)


@click.group()
def main() -> None:
    """Measure how edged serves more models than memory holds."""
    reason = why_not(PROFILES["sd40"])
    if reason is not None:
        raise click.ClickException(reason)
    compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does


_folder = click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)


@main.command("replay")
@_folder
@click.option(
    "--contender", "contenders", multiple=True, type=click.Choice(_CONTENDERS), help="Only this one."
)
@click.option("--trace", "file", type=click.Path(path_type=Path, exists=True), default=traces.MORNING)
@click.option("--profile", type=click.Choice(list(PROFILES)), default="sd40", show_default=True)
@click.option(
    "--results", type=click.Path(path_type=Path, dir_okay=False), help="Append outcomes to this file."
)
def replay_trace(
    folder: Path | None, contenders: tuple[str, ...], file: Path, profile: str, results: Path | None
) -> None:
    """Replay a trace of requests for ten models against each contender in turn."""
    models = fleet(folder or model_dir(Config()))
    trace = traces.read(file)
    found = []
    for contender in contenders or _CONTENDERS:
        try:
            found.append(replay.outcome(contender, trace, models, profile))
        except BenchFailed as error:
            click.echo(f"{contender}: failed: {error}", err=True)
            continue
        if results is not None:
            with results.open("ab") as lines:
                lines.write(msgspec.json.encode(found[-1]) + b"\n")
    print_outcomes(found)


@main.command("report")
@click.argument("results", type=click.Path(path_type=Path, exists=True))
def report_outcomes(results: Path) -> None:
    """Print what a file of results holds."""
    lines = results.read_bytes().splitlines()
    print_outcomes([msgspec.json.decode(line, type=replay.Outcome) for line in lines])


def print_outcomes(outcomes: Sequence[replay.Outcome]) -> None:
    """A row for each contender."""
    names = dict.fromkeys(outcome.contender for outcome in outcomes)
    rows = [row(name, [each for each in outcomes if each.contender == name]) for name in names]
    report.print_table("A trace of ten models", _CAPTION, _COLUMNS, rows)


def row(name: str, outcomes: Sequence[replay.Outcome]) -> list[str]:
    """One line of the table."""
    waited = [each for outcome in outcomes for each in outcome.waited]
    answered = [each for each in waited if each.status == 200]
    waits_s = [each.wait_s for each in answered]
    embeds_s = [each.wait_s for each in answered if each.kind == "embed"]

    def mean(of: Callable[[replay.Outcome], float]) -> str:
        return f"{statistics.mean(map(of, outcomes)):.0f}"

    return [
        *(name, str(len(waited)), str(len(waited) - len(answered))),
        *(quantile(waits_s, 0.5), quantile(waits_s, 0.95), f"{statistics.mean(waits_s):.2f}"),
        *(quantile(embeds_s, 0.5), quantile(embeds_s, 0.95)),
        *(mean(lambda each: each.read_bytes / 1e6), mean(lambda each: each.loads)),
        *(mean(lambda each: each.evictions), mean(lambda each: each.kills)),
        f"{max(each.others_cores for each in outcomes):.2f}",
    ]


def quantile(samples: Sequence[float], share: float) -> str:
    """The sample that so many are below (nearest rank)."""
    return f"{sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]:.2f}" if samples else "-"


@main.command("swap")
@_folder
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Swaps there and back.")
@click.option("--cache", "caches", multiple=True, type=click.Choice(["warm", "cold"]), help="Only this.")
@click.option("--spare", type=click.Choice(["auto", "off"]), default="auto", show_default=True)
@click.option("--pause", "pause_s", default=3.0, show_default=True, help="Seconds between two swaps.")
def swap_two(folder: Path | None, rounds: int, caches: tuple[str, ...], spare: str, pause_s: float) -> None:
    """Swap SmolLM2 and Gemma, by turns with llama-server's router, which may hold one model."""
    found = {model.id: model for model in installed(folder or model_dir(Config()))}
    pair = (found["smollm2"], found["gemma3-270m"])
    try:
        swaps = swap.measured(pair, rounds, caches or ("warm", "cold"), spare=spare, pause_s=pause_s)
    except BenchFailed as error:
        raise click.ClickException(str(error)) from error
    rows = []
    for (model, cache, contender), samples in swaps.items():
        peer_s = statistics.median(swaps[model, cache, swap.PEER])
        rows.append([model, cache, contender, report.seconds(samples), report.ratio(samples, peer_s)])
    report.print_table("A swap of two models", _SWAP_CAPTION, _SWAP_COLUMNS, rows)


if __name__ == "__main__":
    main()
