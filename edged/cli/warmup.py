"""`edged warmup`: have models read into memory and used once, so that the next answer is a quick one."""

from pathlib import Path

import click

from edged.cli.client import connect, model_path, options
from edged.config.units import format_seconds


@click.command("warmup", short_help="Read models into memory and run a batch.")
@options
@click.argument("models", nargs=-1, required=True)
def command(config_file: Path | None, url: str | None, models: tuple[str, ...]) -> None:
    """Have the running edged load MODELS if needed, read their files to the end and run a batch."""
    client = connect(config_file, url)
    for model in models:
        warmup_s = client.post(model_path(model, "warmup"))["warmup_s"]
        click.echo(f"{model}: warm, a batch took {format_seconds(warmup_s)}")
