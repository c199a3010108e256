"""`edged pull`: fetch models into the model directory."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edged.errors import PullError

if TYPE_CHECKING:
    import rich.progress

    from edged.store.progress import Progress
    from edged.store.pull import Place, Pulled
    from edged.store.request import Request

_INTERRUPTED = 130
_PLAIN_LINE_EVERY_S = 5.0


@click.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--force", is_flag=True, help="Pull although memory is short; replace another file of that name."
)
@click.option(
    "--weights", help="Weight format of a model that is converted: q8_0, f16 or bf16; else the fastest here."
)
@click.option("--name", "model_id", help="The id to give the model: its file becomes ID.gguf.")
@click.option("--sha256", help="The hash that the file (of a path or an address) must have.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--verify/--no-verify", default=True, help="Hash what is there already, or trust its size and time."
)
def command(
    names: tuple[str, ...],
    force: bool,
    weights: str | None,
    model_id: str | None,
    sha256: str | None,
    config_file: Path | None,
    verify: bool,
) -> None:
    """Fetch models into the model directory.

    NAME is an id of the catalog (see `edged models`), the path of a .gguf file, or its https:// address.
    A pull that broke off goes on where it was; a model that is there and intact is left alone.
    """
    from edged.store.request import Request

    if len(names) > 1 and (model_id or sha256):
        raise click.UsageError("--name and --sha256 are about one model: pull it alone")
    requests = [Request(name, model_id, sha256, weights) for name in names]
    place = _place(config_file, force, verify)
    try:
        with _terminable():
            failures = [request for request in requests if not _pull(request, place)]
    except KeyboardInterrupt:
        click.echo("edged: stopped; what was downloaded is kept: pull again to go on from there", err=True)
        sys.exit(_INTERRUPTED)
    if failures:
        sys.exit(PullError.exit_code)


def model_directory(config_file: Path | None) -> Path:
    """The model directory of a configuration; where there is none, the default. Raises ConfigError."""
    from edged.config import load, paths

    return paths.model_dir(load.load_or_default(config_file))


def _place(config_file: Path | None, force: bool, verify: bool) -> "Place":
    from edged.lifecycle.fetch import place_for

    return place_for(model_directory(config_file), force=force, verify=verify)


def _pull(request: "Request", place: "Place") -> bool:
    """Pull one model and say how it went; whether it is in place now."""
    from edged.store import catalog
    from edged.store.pull import pull
    from edged.store.request import resolve

    try:
        wanted = resolve(request, catalog.load())
        with _shown() as progress:
            pulled = pull(wanted, place, progress)
    except PullError as error:
        for line in str(error).splitlines():
            click.echo(f"edged: {line}", err=True)
        return False
    click.echo(_outcome(wanted.id, pulled))
    return True


def _outcome(model_id: str, pulled: "Pulled") -> str:
    weights = f" {pulled.weights}" if pulled.weights else ""
    what = f"{pulled.path} ({pulled.size_bytes / 1e6:.1f} MB{weights})"
    if not pulled.fetched:
        return f"{model_id}: already installed and intact: {what}"
    return f"{model_id}: installed {what} from {pulled.source}"


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a pull as Ctrl-C does: children stopped, what was received made resumable."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _shown() -> "Iterator[Progress]":
    """A bar on a terminal, plain lines elsewhere; both on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    import rich.console
    import rich.progress as bars
    from rich.table import Column

    one_line = Column(no_wrap=True)
    columns = (
        bars.TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        bars.BarColumn(bar_width=16),
        bars.DownloadColumn(table_column=one_line),
        bars.TransferSpeedColumn(table_column=one_line),
        bars.TimeRemainingColumn(compact=True, table_column=one_line),
    )
    console = rich.console.Console(stderr=True)
    with bars.Progress(
        *columns, console=console, transient=True, expand=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        yield _Bar(bar)


class _Lines:
    """A line when a step begins, and now and then while it lasts."""

    def __init__(self) -> None:
        self._label = ""
        self._said_at_s = 0.0

    def say(self, text: str) -> None:
        """Print it."""
        click.echo(text, err=True)

    def advance(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        """Print a new step at once, the same one only after a while."""
        if label != self._label:
            self.say(label)
        elif time.monotonic() - self._said_at_s < _PLAIN_LINE_EVERY_S:
            return
        else:
            of_total = f" of {total_bytes / 1e6:.1f}" if total_bytes is not None else ""
            self.say(f"{label}: {done_bytes / 1e6:.1f}{of_total} MB")
        self._label, self._said_at_s = label, time.monotonic()


class _Bar:
    """The step under way as a bar; what is worth keeping as lines above it."""

    def __init__(self, bar: "rich.progress.Progress") -> None:
        self._bar = bar
        self._label = ""
        self._task: rich.progress.TaskID | None = None

    def say(self, text: str) -> None:
        """Print it above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        """Move the bar; a new step gets a new one."""
        if self._task is None or label != self._label:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._label = label
            self._task = self._bar.add_task(label, total=total_bytes)
        self._bar.update(self._task, completed=done_bytes, total=total_bytes)
