"""`edged cool`: have models give their pages back and stay loaded."""

from pathlib import Path

import click

from edged.cli.client import connect, model_path, options
from edged.config.units import format_bytes


@click.command("cool", short_help="Let models give memory back, but stay loaded.")
@options
@click.option("--shrink", is_flag=True, help="Give back the context and the prompts kept there as well.")
@click.argument("models", nargs=-1, required=True)
def command(config_file: Path | None, url: str | None, shrink: bool, models: tuple[str, ...]) -> None:
    """Have MODELS of the running edged give back the pages of their files until the next request.

    That takes longer than others then, but no time for starting and parsing.
    """
    client = connect(config_file, url)
    for model in models:
        path = model_path(model, "cool") + ("?shrink=true" if shrink else "")
        freed_bytes = client.post(path)["freed_bytes"]
        said = f"gave back {format_bytes(freed_bytes)}" if freed_bytes else "has nothing to give back now"
        click.echo(f"{model}: {said}")
