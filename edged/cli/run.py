"""`edged run`: the daemon in the foreground."""

from pathlib import Path

import click

from edged.config.source import Source
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
        source = Source(config_path, changes)
        config = source.read()
        from edged.daemon import run

        run(config, source)
    except EdgedError as error:
        cause = error.__cause__
        notify(status=str(error), errno=cause.errno if isinstance(cause, OSError) else None)
        raise
