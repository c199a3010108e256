"""`edged run`: the daemon in the foreground."""

from pathlib import Path

import click

from edged.config.load import load
from edged.errors import EdgedError
from edged.service.notify import notify


@click.command("run")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--host", help="Listen on this address instead of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port; 0 takes a free one.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key of the file.")
def command(config_path: Path | None, host: str | None, port: int | None, overrides: tuple[str, ...]) -> None:
    """Measure this machine, plan, load and serve until SIGTERM or Ctrl-C."""
    changes = list(overrides)
    if host is not None:
        changes.append(f"server.host={host}")
    if port is not None:
        changes.append(f"server.port={port}")
    try:
        config = load(config_path, changes)
        from edged.daemon import run

        run(config, lambda: load(config_path, changes))
    except EdgedError as error:
        cause = error.__cause__
        notify(status=str(error), errno=cause.errno if isinstance(cause, OSError) else None)
        raise
