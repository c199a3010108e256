"""`edged config`: look at settings and change them, next to editing the file by hand."""

import sys
from pathlib import Path
from typing import Any

import click

from edged.config import edit
from edged.config.difference import difference
from edged.config.load import load, load_text, read_text, standard_file
from edged.errors import ConfigError, EdgedError

_FILE = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The configuration file."
)


@click.group("config", short_help="Look at settings and change them.")
def command() -> None:
    """Look at settings and change them; comments and order of the file stay.

    A change that would make the file wrong is refused. It takes effect with `systemctl reload edged`.
    """


@command.command("get")
@_FILE
@click.argument("path", default="")
def get(config_file: Path | None, path: str) -> None:
    """Print what is in force at PATH, such as models.smollm2.n_ctx; without PATH, everything.

    Defaults are included. API keys are only printed when PATH is access.api_keys.
    """
    value = edit.value_at(load(config_file), path)
    click.echo(_text(value))


@command.command("set", context_settings={"ignore_unknown_options": True})
@_FILE
@click.argument("path")
@click.argument("value")
def set_(config_file: Path | None, path: str, value: str) -> None:
    """Set PATH to VALUE in the file, such as `edged config set models.smollm2.n_ctx 2048`."""
    file = config_file or standard_file()
    before = read_text(file)
    after = edit.with_value(before, str(file), path, value)
    _replace(file, before, after)


@command.command("edit")
@_FILE
def edit_(config_file: Path | None) -> None:
    """Open the file in $EDITOR. It is replaced when what was written is right, and only then.

    Otherwise the file stays as it is, and what was written is kept beside it.
    """
    file = config_file or standard_file()
    before = read_text(file)
    kept = file.resolve().with_name(f"{file.name}.rejected")
    text: str | None = before
    while True:
        text = click.edit(text, extension=".yaml", require_save=False)
        if text is None or text == before:
            click.echo(f"{file}: nothing has changed")
            return
        try:
            load_text(text, str(file))
        except ConfigError as error:
            if sys.stdin.isatty():
                click.echo("\n".join(f"edged: {problem}" for problem in error.problems), err=True)
                if click.confirm("Edit again?", default=True, err=True):
                    continue
            raise _rejected(file, kept, text, error) from error
        _replace(file, before, text)
        return


def _rejected(file: Path, kept: Path, text: str, error: ConfigError) -> ConfigError:
    """Keep a text that is wrong; the error that says where."""
    try:
        kept.touch(mode=0o600)
        edit.write(kept, text)
        where = f"what you wrote is in {kept}"
    except (OSError, EdgedError) as problem:
        where = f"what you wrote could not be kept: {problem}"
    return ConfigError([*error.problems, f"{file} is as it was; {where}"])


def _replace(file: Path, before: str, after: str) -> None:
    """Write the new text, if nobody else has changed the file meanwhile; say how it takes effect."""
    if read_text(file) != before:
        raise EdgedError(f"{file}: somebody else has changed it meanwhile; it is as they left it, try again")
    if after == before:
        click.echo(f"{file}: nothing has changed")
        return
    edit.write(file, after)
    try:
        found = difference(load_text(before, str(file)), load_text(after, str(file)))
    except ConfigError:  # it was wrong before, so that nothing runs by it
        click.echo(f"{file}: changed")
        return
    if not found.changes:
        click.echo(f"{file}: changed; every setting has the value that it had")
        return
    click.echo(f"{file}: {found.text}")
    verb = "restart" if found.fixed else "reload"
    click.echo(f"To apply it: systemctl {verb} edged")


def _text(value: Any) -> str:
    """YAML; a single value as it stands."""
    import yaml

    if isinstance(value, dict | list):
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")
    return str(value).lower() if isinstance(value, bool) else str(value)
