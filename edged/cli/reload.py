"""`edged reload`: have the running daemon apply its configuration as it is written now."""

import click

from edged.errors import EdgedError


@click.command("reload", short_help="Apply the changed configuration to the running edged.")
def command() -> None:
    """Have the edged that runs on this machine read its configuration again and apply what has changed.

    Requests to models that did not change go on untouched. Returns when the changes are in force and the
    models answer. When the file is wrong, nothing changes and the command fails with the reason.
    """
    from edged.service.control import ask

    answer = ask("reload")
    if answer.failed:
        raise EdgedError(answer.said)
    click.echo(f"reloaded: {answer.said}")
