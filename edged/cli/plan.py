"""`edged plan`: how each model would be loaded on this machine, and why, without starting anything."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edged.config.load import load
from edged.config.paths import model_path, state_dir
from edged.config.schema import Config
from edged.config.units import format_bytes, format_seconds
from edged.lifecycle.comparison import Plans, Times, last_times, with_measured
from edged.policy.types import LoadPlan

if TYPE_CHECKING:
    from rich.console import Console

_HEADINGS = (
    *("model", "strategy", "anonymous", "file", "context"),
    *("ready", "last\ntime", "first\nanswer", "last\ntime"),
)
_UNKNOWN = "unknown"


@click.command("plan", short_help="Show how each model would be loaded, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key; repeatable.")
@click.pass_context
def command(
    context: click.Context, as_json: bool, config_file: Path | None, overrides: tuple[str, ...]
) -> None:
    """Measure this machine and show the plan for each model, without loading any.

    LAST TIME is what the last load of the same file by the same strategy took.

    Exits with 1 when a model file is missing or damaged.
    """
    from edged.lifecycle.calibration import Calibration
    from edged.lifecycle.planner import plan_models

    config = load(config_file, overrides)
    calibration = Calibration.load(state_dir(config) / "calibration.json")
    planned = plan_models(config, calibration.measured())
    times = {plan.model: last_times(plan, calibration.loads) for plan in planned.plans}
    problems = {model: _problem(config, model, text) for model, text in planned.problems.items()}
    if as_json:
        import msgspec

        plans = tuple(with_measured(plan, times[plan.model]) for plan in planned.plans)
        shown = Plans(plans=plans, problems=problems)
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    else:
        _print(config, planned.plans, times, problems)
    if problems:
        context.exit(1)


def row(plan: LoadPlan, last: Times) -> tuple[str, ...]:
    """One line of the table."""
    predicted = plan.predicted
    refused = plan.strategy == "refused"
    later = "" if plan.load_at_start or plan.strategy in ("refused", "on_demand") else ", on demand"
    return (
        plan.model,
        plan.strategy + later,
        format_bytes(predicted.anon_bytes),
        format_bytes(predicted.file_bytes),
        f"{plan.n_ctx} x {plan.n_seq_max}",
        "-" if refused else _seconds(predicted.ready_s),
        _seconds(last.ready_s, unknown="-"),
        "-" if refused else _seconds(predicted.first_answer_s),
        _seconds(last.first_answer_s, unknown="-"),
    )


def _problem(config: Config, model: str, text: str) -> str:
    return text if model_path(config, model).exists() else f"not installed: edged pull {model}"


def _print(
    config: Config, plans: Iterable[LoadPlan], times: Mapping[str, Times], problems: Mapping[str, str]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not config.models:
        console.print("no models are configured; see `edged models`")
        return
    by_model = {plan.model: plan for plan in plans}
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for model in config.models:
        cells = row(by_model[model], times[model]) if model in by_model else (model, "-")
        table.add_row(*map(Text, cells))  # Text: nothing in it is markup
    console.print(table)
    for plan in by_model.values():
        _print_list(console, plan.model, plan.reasons)
    for model, problem in problems.items():
        _print_list(console, model, (problem,))


def _print_list(console: "Console", title: str, lines: Iterable[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(title, style="bold"))
    for line in lines:
        if console.is_terminal:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        else:  # one line each, for grep
            console.print(Text(f"  {line}"), soft_wrap=True)


def _seconds(duration_s: float | None, unknown: str = _UNKNOWN) -> str:
    return unknown if duration_s is None else format_seconds(duration_s)
