"""`edged check-config`: say what a configuration would serve, or everything that is wrong with it."""

from pathlib import Path

import click

from edged.config import paths
from edged.config.load import load, standard_file


@click.command("check-config", short_help="Check a configuration file.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key; may be repeated."
)
def command(file: Path | None, overrides: tuple[str, ...]) -> None:
    """Check FILE (default: the file that `edged run` would read) and exit 2 when it is wrong.

    Model files are not looked at, `edged plan` does that; nor the files of TLS, `edged doctor` does.
    """
    file = file or standard_file()
    config = load(file, overrides)
    folders = f"models in {paths.model_dir(config)}, state in {paths.state_dir(config)}"
    models = ", ".join(config.models) or "no models"
    server = config.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    where = f"{host}:{server.port}{' (HTTPS)' if paths.tls_files(config) else ''}"
    click.echo(f"{file}: OK: serves {models} on {where}, access {config.access.mode}")
    click.echo(folders)
