"""`edged unload`: have the running edged give models' memory back."""

from pathlib import Path

import click

from edged.cli.client import connect, model_path, options


@click.command("unload", short_help="Unload models from the running edged.")
@options
@click.argument("models", nargs=-1, required=True)
def command(config_file: Path | None, url: str | None, models: tuple[str, ...]) -> None:
    """Have the running edged unload MODELS; the next request for one loads it again."""
    client = connect(config_file, url)
    for model in models:
        client.post(model_path(model, "unload"))
        click.echo(f"{model}: unloaded")
