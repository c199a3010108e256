"""`edged config-schema`: the configuration's JSON Schema, for editors."""

import json

import click

from edged.config.json_schema import json_schema


@click.command("config-schema", short_help="Print the configuration's JSON Schema.")
def command() -> None:
    """Print the JSON Schema of the configuration file.

    For completion and checks while typing, save it beside the file and begin the file with
    `# yaml-language-server: $schema=NAME`.
    """
    click.echo(json.dumps(json_schema(), indent=2))
