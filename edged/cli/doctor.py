"""`edged doctor`: what on this machine slows a cold start, what it costs, and the command that fixes it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from edged.doctor.facts import Finding

_MARKS = {"problem": "!", "hint": "-", "unknown": "?"}


@click.command("doctor", short_help="Find what slows cold starts here, and how to fix it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file.")
@click.pass_context
def command(context: click.Context, as_json: bool, config_file: Path | None) -> None:
    """Look for what slows a cold start on this machine.

    Each finding comes with its cost, measured or computed from measurements, and the commands that fix it.
    Exits with 1 when something is wrong; hints (-) and what could not be looked at (?) are not counted.
    """
    from edged.config.load import load
    from edged.doctor.examine import examine
    from edged.doctor.gather import gather

    findings = examine(gather(load(config_file)), sys.executable)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode({"findings": findings})))
    else:
        click.echo("\n".join(lines(findings)))
    if any(finding.level == "problem" for finding in findings):
        context.exit(1)


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings for a person: what, cost, and a line for each command."""
    if not findings:
        return ["nothing here slows a cold start"]
    said = []
    for finding in findings:
        said.append(f"{_MARKS[finding.level]} {finding.check}: {finding.what}")
        said.append(f"    cost: {finding.cost}")
        said += [f"    fix:  {each}" for each in finding.fix]
    if not any(finding.level == "problem" for finding in findings):
        said.append("nothing is wrong")
    return said
