"""`edged models`: the catalog and what is installed."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from edged.cli.pull import model_directory
from edged.cli.table import aligned
from edged.errors import EdgedError, ModelFileError
from edged.store import catalog, receipt
from edged.store.catalog import Entry
from edged.store.room import memory_estimate
from edged.store.work import unfinished


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model, of the catalog, installed, or both. Unknown is None."""

    id: str
    installed: bool
    size_bytes: int
    format: str | None
    license: str | None
    memory_bytes: int
    receipt: Literal["ok", "changed", "none"] | None  # of an installed file
    path: str | None
    description: str | None = None
    problem: str | None = None


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Hash every pulled file again; exit 1 if one has changed.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file.")
def command(as_json: bool, verify: bool, config_file: Path | None) -> None:
    """List the models that can be pulled by name, and those in the model directory.

    RECEIPT says whether an installed file is as it was when it was pulled: by size and time,
    with --verify by hash.
    """
    folder = model_directory(config_file)
    try:
        rows = tuple(_rows(catalog.load(), folder, verify))
    except OSError as error:
        raise EdgedError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        click.echo(_table(rows))
        click.echo("\n".join(["", *_remarks(rows, folder)]))
    if verify and any(row.receipt == "changed" for row in rows):
        sys.exit(EdgedError.exit_code)


def _rows(entries: Mapping[str, Entry], folder: Path, verify: bool) -> Iterator[Row]:
    """The catalog in its order, then the other files by name."""
    listed = {entry.file: entry for entry in entries.values()}
    others = sorted(path.name for path in folder.glob("*.gguf") if path.name not in listed)
    for name in (*listed, *others):
        path, entry = folder / name, listed.get(name)
        if path.is_file():
            yield _installed(path, entry, verify)
        elif entry is not None:
            yield _available(entry)


def _available(entry: Entry) -> Row:
    first = entry.variants[0]
    return Row(
        id=entry.id,
        installed=False,
        size_bytes=first.size_bytes,
        format=first.weights,
        license=entry.license,
        memory_bytes=first.memory_bytes,
        receipt=None,
        path=None,
        description=entry.description,
    )


def _installed(path: Path, entry: Entry | None, verify: bool) -> Row:
    """A file in the model directory. Under a catalog name but from elsewhere, it gets no catalog facts."""
    known = receipt.read(path)
    if entry is not None and (known is None or known.origin != entry.id):
        entry = None
    weights, problem = (known.weights, None) if known and known.weights else _weights_in(path)
    size_bytes = path.stat().st_size
    variant = entry.variant(weights) if entry else None
    return Row(
        id=path.stem,
        installed=True,
        size_bytes=size_bytes,
        format=weights,
        license=entry.license if entry else None,
        memory_bytes=variant.memory_bytes if variant else memory_estimate(size_bytes),
        receipt=_receipt_state(path, verify),
        path=str(path),
        description=entry.description if entry else None,
        problem=problem,
    )


def _weights_in(path: Path) -> tuple[str | None, str | None]:
    """The type that most bytes of a file's weights have, or why it cannot be read."""
    from edged.gguf.header import read_header

    try:
        return read_header(path).main_type.lower(), None
    except ModelFileError as error:
        return None, str(error)


def _receipt_state(path: Path, verify: bool) -> Literal["ok", "changed", "none"]:
    if receipt.read(path) is None:
        return "none"
    changed = receipt.verify(path).status != "ok" if verify else receipt.changed_since_pull(path)
    return "changed" if changed else "ok"


def _remarks(rows: Sequence[Row], folder: Path) -> Iterator[str]:
    yield f"Model directory: {folder}"
    for row in rows:
        if row.problem:
            yield row.problem
        if row.receipt == "changed":
            yield f"{row.id} has changed since it was pulled; pull it again to check and repair it"
    for name, size_bytes in unfinished(folder).items():
        yield f"{name} is not pulled to the end ({size_bytes / 1e6:.1f} MB kept); pull it again to go on"


def _table(rows: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [("ID", "INSTALLED", "SIZE", "FORMAT", "MEMORY", "RECEIPT", "LICENSE")]
    lines += [
        (
            row.id,
            "yes" if row.installed else "no",
            _megabytes(row.size_bytes),
            row.format or "unknown",
            _megabytes(row.memory_bytes),
            row.receipt or "-",
            row.license or "unknown",
        )
        for row in rows
    ]
    return aligned(lines)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
