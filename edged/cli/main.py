"""The `edged` command: its verbs, loaded when they are used, so that `edged run` starts fast."""

import importlib
import sys

import click

from edged import __version__
from edged.errors import EdgedError

_VERBS = {
    "run": ("edged.cli.run", "Measure, plan, load and serve."),
    "probe": ("edged.cli.probe", "Measure this machine's memory, storage and CPU."),
    "plan": ("edged.cli.plan", "Show how each model would be loaded, and why."),
    "doctor": ("edged.cli.doctor", "Find what slows cold starts here, and how to fix it."),
    "pull": ("edged.cli.pull", "Fetch models into the model directory."),
    "models": ("edged.cli.models", "List the catalog and what is installed."),
    "chat": ("edged.cli.chat", "Talk with a model."),
    "embed": ("edged.cli.embed", "Make embeddings of texts."),
    "ps": ("edged.cli.ps", "Show what each model is doing and what it holds."),
    "load": ("edged.cli.load", "Load models into the running edged."),
    "unload": ("edged.cli.unload", "Unload models from the running edged."),
    "cool": ("edged.cli.cool", "Let models give memory back, but stay loaded."),
    "warmup": ("edged.cli.warmup", "Read models into memory and run a batch."),
    "reload": ("edged.cli.reload", "Apply the changed configuration to the running edged."),
    "bench": ("edged.cli.bench", "Measure how fast a server answers."),
    "key": ("edged.cli.key", "Make API keys, list them, take them back."),
    "config": ("edged.cli.config", "Look at settings and change them."),
    "check-config": ("edged.cli.check_config", "Check a configuration file."),
    "config-schema": ("edged.cli.config_schema", "Print the configuration's JSON Schema."),
}


class _LazyGroup(click.Group):
    """A group whose help does not import its verbs' modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(_VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in _VERBS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="edged %(version)s")
def cli() -> None:
    """A model server for small Linux boxes."""


def main() -> None:
    """Run a verb; an EdgedError becomes `edged: what is wrong` on stderr and its exit code."""
    try:
        cli(prog_name="edged")
    except EdgedError as error:
        for line in str(error).splitlines():
            print(f"edged: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
