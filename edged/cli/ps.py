"""`edged ps`: what each model is doing, what it holds, and why it is where it is."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edged.cli.client import Client, connect, options
from edged.cli.moments import moments
from edged.cli.table import aligned
from edged.config.units import format_bytes, format_seconds
from edged.errors import EdgedError
from edged.lifecycle.holding import Holding
from edged.lifecycle.listing import Accounted, Listed, Listing
from edged.lifecycle.status import Cause, ModelStatus, UnloadCause, progress
from edged.policy.memory import UNLIMITED_BYTES

if TYPE_CHECKING:
    from rich.console import Group

_HEADINGS = (
    *("MODEL", "STATE", "STRATEGY", "ANON", "HOT", "COLD", "CACHED"),
    *("TOKENS/S", "BUSY", "QUEUED", "LAST USE", "WHY"),
)
_LOADED_BECAUSE: dict[Cause, str] = {
    "boot": "loaded at start",
    "demand": "asked for",
    "evicted": "asked for again after it was evicted",
    "crash": "restarted after a crash",
    "hung": "restarted because it hung",
    "reload": "loaded by a reload",
}
_UNLOADED_BECAUSE: dict[UnloadCause, str] = {
    "asked": "unloaded on request",
    "idle": "nobody asked for it any more",
    "evicted": "made room for another model",
    "pressure": "memory was short",
    "reload": "the configuration has changed",
    "closing": "edged is shutting down",
}


@click.command("ps", short_help="Show what each model is doing and what it holds.")
@options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Follow what happens until Ctrl-C.")
def command(config_file: Path | None, url: str | None, as_json: bool, watch: bool) -> None:
    """Show the models of the running edged.

    ANON is the memory of the model's own process. Of its file, HOT is what the process has in use, and COLD
    what else the page cache holds: it goes first when memory is short. CACHED is the share of both together.
    TOKENS/S is the speed of the last answers, as their clients saw it.
    """
    client = connect(config_file, url)
    if as_json:
        _print_json(client, watch)
    else:
        with suppress(KeyboardInterrupt):  # which is how one stops watching
            _show(client, watch)


def listing(client: Client) -> Listing:
    """Every model. Raises EdgedError."""
    try:
        return msgspec.convert(client.get("/edged/v1/models?memory=true"), Listing)
    except msgspec.ValidationError as error:
        raise EdgedError(f"edged answers what this version of `edged ps` does not know: {error}") from error


def row(model: Listed) -> tuple[str, ...]:
    """One line of the table."""
    held = model.memory if isinstance(model.memory, Holding) else Holding()
    return (
        model.model,
        model.state,
        model.strategy,
        _size(held.anon_bytes),
        _size(held.hot_bytes),
        _size(held.cold_bytes),
        "-" if held.cached_share is None else f"{100 * held.cached_share:.0f} %",
        "-" if model.tokens_per_s is None else f"{model.tokens_per_s:.1f}",
        str(model.busy_slots),
        str(model.queued_requests),
        _last_use(model.unused_s),
        why(model),
    )


def why(model: ModelStatus) -> str:
    """Why a model is in the state that it is in."""
    match model.state:
        case "failed":
            said = [model.reason or "unknown"]
        case "loading":
            waits = model.phase == "room" and model.reason
            said = [_LOADED_BECAUSE[model.cause or "demand"]]
            said += [f"waits for room: {model.reason}"] if waits else progress(model)
        case "ready":
            said = [_LOADED_BECAUSE[model.cause or "demand"], *progress(model), *_stays(model)]
        case "unloaded" | "unloading":
            said = [_UNLOADED_BECAUSE[model.unloaded_by] if model.unloaded_by else "nobody has asked for it"]
    return " ".join(", ".join(filter(None, said)).split())


def _stays(model: ModelStatus) -> list[str]:
    """How long a loaded model stays, and what it has given up."""
    said = []
    if model.cooled is not None:
        said.append(f"gave back its {model.cooled} until the next request")
    if model.leaving is not None:
        said.append(f"leaves: {_UNLOADED_BECAUSE[model.leaving]}")
    elif model.pinned:
        said.append("pinned")
    elif model.keep_alive_s is not None:
        said.append(f"stays {format_seconds(model.keep_alive_s)} without requests")
    return said


def _last_use(unused_s: float | None) -> str:
    if unused_s is None:
        return "never"
    return "now" if unused_s < 1 else f"{format_seconds(round(unused_s))} ago"


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else format_bytes(size_bytes)


def _account(account: Accounted) -> str:
    """`models may take 1.2 GiB and need 513.3 MiB: 421.2 MiB anonymous, …`."""
    taken_bytes = account.anonymous_bytes + account.file_hot_bytes + account.in_flight_bytes
    is_limited = account.budget_bytes < UNLIMITED_BYTES
    most = format_bytes(account.budget_bytes) if is_limited else "what there is (which is unknown)"
    loading = f", {format_bytes(account.in_flight_bytes)} loading" if account.in_flight_bytes else ""
    return (
        f"models may take {most} and need {format_bytes(taken_bytes)}:"
        f" {format_bytes(account.anonymous_bytes)} anonymous, {format_bytes(account.file_hot_bytes)} of files"
        + loading
        + (f", {format_bytes(account.spare_bytes)} in a spare runner" if account.spare_bytes else "")
    )


def _summary(found: Listing) -> str:
    return _account(found.account) if isinstance(found.account, Accounted) else ""


def _plain(found: Listing) -> str:
    return "\n".join([aligned([_HEADINGS, *map(row, found.models)]), "", _summary(found)])


def _drawn(found: Listing) -> "Group":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading.lower(), overflow="fold")
    for model in found.models:
        table.add_row(*map(Text, row(model)))  # Text: nothing in it is markup
    return Group(table, Text(_summary(found)))


def _print_json(client: Client, watch: bool) -> None:
    """The models; with `watch` the events, one a line."""
    if not watch:
        click.echo(msgspec.json.format(msgspec.json.encode(client.get("/edged/v1/models?memory=true"))))
        return
    for event in client.events():
        click.echo(msgspec.json.encode(event).decode())


def _show(client: Client, watch: bool) -> None:
    """Draw the table; with `watch` again whenever something happens, and now and then."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    looks = moments(client) if watch else iter([None])
    if not console.is_terminal:
        for _ in looks:
            click.echo(_plain(listing(client)) + "\n" * watch)
    elif watch:
        with Live(console=console, auto_refresh=False) as live:
            for _ in looks:
                live.update(_drawn(listing(client)), refresh=True)
    else:
        console.print(_drawn(listing(client)))
