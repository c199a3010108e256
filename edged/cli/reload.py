"""`edged reload`: have the running daemon apply its configuration as it is written now."""

import os

import click

from edged.config import load
from edged.config.credentials import beside, read_keys
from edged.config.key_file import without_plain_text
from edged.errors import EdgedError


@click.command("reload", short_help="Apply the changed configuration to the running edged.")
def command() -> None:
    """Have the edged that runs on this machine read its configuration again and apply what has changed.

    Requests to models that did not change go on untouched. Returns when the changes are in force and the
    models answer. When the file is wrong, nothing changes and the command fails with the reason.

    The service cannot read its file of keys, of which systemd gave it a copy when it started. Run by root,
    this hands over the file as it is now.
    """
    keys = _keys_of_the_service()
    if keys is not None:
        _asked("keys", keys)
    click.echo(f"reloaded: {_asked('reload')}")


def _asked(question: str, text: str = "") -> str:
    from edged.service.control import ask

    answer = ask(question, text=text)
    if answer.failed:
        raise EdgedError(answer.said)
    return answer.said


def _keys_of_the_service() -> str | None:
    """None where there is no such file, or it is not ours to read."""
    file = beside(load.SYSTEM_FILE)
    text = read_keys(file) if os.access(file, os.R_OK) else None
    # The socket lies in a folder of the service's user: nobody there is told a key.
    return None if text is None else without_plain_text(text, str(file))
