"""`edged key`: make API keys, list them, take them back."""

from pathlib import Path

import click

from edged.cli.table import aligned
from edged.config.credentials import key_file, read_keys
from edged.config.edit import write
from edged.config.key_file import with_key, without_key
from edged.config.keys import SCOPES, new_key, parse_key
from edged.config.load import load, standard_file
from edged.errors import EdgedError

_FILE = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The configuration file."
)
_APPLY = "To apply it: systemctl reload edged (or `edged reload`)"


@click.group("key", short_help="Make API keys, list them, take them back.")
def command() -> None:
    """Make API keys, list them, take them back.

    They are kept in the file api_keys beside the configuration, which only its owner can read, as hashes.
    """


@command.command("add")
@_FILE
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=("use",),
    show_default=True,
    help="What it is for; give it several times for several.",
)
@click.argument("name")
def add(config_file: Path | None, scopes: tuple[str, ...], name: str) -> None:
    """Make a key, called NAME in logs and lists, and print it. It cannot be shown again.

    use: ask models; metrics: read /metrics; manage: load, unload and delete models; pull: fetch models.
    """
    file = key_file(config_file or standard_file())
    before, key = read_keys(file), new_key()
    _replace(file, before, with_key(before or "", name, scopes, key))
    click.echo(key)
    click.echo(f"{file}: added {name}, for {', '.join(scopes)}; the key is not shown again", err=True)
    if not before:
        click.echo("With it in force, all needs a key but what access.keyless names.", err=True)
    click.echo(_APPLY, err=True)


@command.command("list")
@_FILE
def list_(config_file: Path | None) -> None:
    """Show the keys by name, what they are for and how they are kept; never a key itself."""
    keys = [parse_key(line) for line in load(config_file).access.api_keys]
    rows = [
        (
            key.name or f"access.api_keys[{at}]",
            ", ".join(scope for scope in SCOPES if scope in key.scopes),
            "hash" if key.text is None else "plain text",
        )
        for at, key in enumerate(keys)
    ]
    heading = ("NAME", "FOR", "KEPT AS")
    click.echo(aligned([heading, *rows]) if rows else "no keys; make one with `edged key add NAME`")


@command.command("remove")
@_FILE
@click.argument("name")
def remove(config_file: Path | None, name: str) -> None:
    """Take the key NAME back: it is refused from the next reload on."""
    config = config_file or standard_file()
    file = key_file(config)
    access = load(config).access
    before = read_keys(file)
    after = without_key(before or "", name)
    is_last = len(access.api_keys) == 1
    if is_last and access.mode == "any":
        raise EdgedError(f"{name} is the last key, and access.mode any needs one: add another one first")
    _replace(file, before, after)
    click.echo(f"{file}: removed {name}")
    if is_last:
        click.echo("It was the last: without keys, all may be done by whom access.mode lets in.", err=True)
    click.echo(_APPLY, err=True)


def _replace(file: Path, before: str | None, after: str) -> None:
    """Write the file anew for its owner alone, if nobody else has changed it meanwhile."""
    if read_keys(file) != before:
        raise EdgedError(f"{file}: somebody else has changed it meanwhile; it is as they left it, try again")
    write(file, after, mode=0o600)
