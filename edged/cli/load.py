"""`edged load`: have the running edged load models, and wait until they answer."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edged.cli.client import Client, connect, model_path, options
from edged.config.units import format_seconds
from edged.errors import EdgedError


@click.command("load", short_help="Load models into the running edged.")
@options
@click.option("--no-wait", is_flag=True, help="Return at once; `edged ps --watch` shows how far it is.")
@click.argument("models", nargs=-1, required=True)
def command(config_file: Path | None, url: str | None, no_wait: bool, models: tuple[str, ...]) -> None:
    """Have the running edged load MODELS, and return when they answer.

    Others are unloaded for them where memory is short. Exits with 1 when one cannot be loaded.
    """
    client = connect(config_file, url)
    for model in models:
        client.post(model_path(model, "load"))
    if not no_wait:
        _wait(client, models)


def _wait(client: Client, models: Sequence[str]) -> None:
    """Follow the loads to their end. Raises EdgedError for one that fails."""
    waiting = set(models)
    for event in client.events():  # it begins with the present states
        if event.get("model") not in waiting:
            continue
        if event["event"] == "progress":
            _show(event)
        elif event["event"] == "state" and event["state"] == "ready":
            waiting.remove(event["model"])
            _say_ready(client, event["model"])
        elif event["event"] == "state" and event["state"] == "failed":
            raise EdgedError(f"{event['model']} cannot be loaded: {event['reason']}")
        if not waiting:
            return
    raise EdgedError("edged has shut down")


def _show(progress: dict[str, Any]) -> None:
    if sys.stderr.isatty():
        share = 100 * progress["bytes_done"] / progress["bytes_total"]
        click.echo(f"\r\x1b[K{progress['model']}: {share:.0f} % read", nl=False, err=True)


def _say_ready(client: Client, model: str) -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    ready_s = client.get(model_path(model))["measured_ready_s"]
    after = "" if ready_s is None else f", loaded in {format_seconds(ready_s)}"
    click.echo(f"{model}: ready{after}")
