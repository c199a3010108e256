"""`edged probe`: measure this machine and print the facts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edged.hw.snapshot import CpuFacts, FileFacts, HardwareSnapshot, MemoryFacts, StorageFacts

if TYPE_CHECKING:
    from rich.table import Table

_UNKNOWN = "unknown"
_Row = tuple[str, ...]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The configuration file.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def command(as_json: bool, config_file: Path | None, paths: tuple[Path, ...]) -> None:
    """Measure memory, CPU and the storage of PATHs, within half a second.

    A PATH is a model file or a folder of them. Without any: the model directory.
    """
    from edged.hw.probe import probe

    wanted = paths or (_model_dir(config_file),)
    snapshot = probe(model_files(paths or (_nearest_folder(wanted[0]),)))
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(snapshot)))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for table in _tables(snapshot):
        console.print(table)
    if not snapshot.files:
        console.print(f"no model files (*.gguf) in {', '.join(map(str, wanted))}", markup=False)
    console.print(f"measured in {snapshot.probe_s:.2f} s")


def model_files(paths: Iterable[Path]) -> list[str]:
    """The model files: a folder stands for the `*.gguf` in it, or for itself while it holds none."""
    files: list[str] = []
    for path in paths:
        inside = sorted(path.glob("*.gguf")) if path.is_dir() else []
        files += map(str, inside or (path,))
    return files


def _nearest_folder(folder: Path) -> Path:
    """The folder, or while nothing was pulled into it yet, the one above it that exists."""
    return next((above for above in (folder, *folder.absolute().parents) if above.is_dir()), folder)


def memory_rows(facts: MemoryFacts) -> list[_Row]:
    """What is known about memory, as (name, value)."""
    limit = _mib(facts.cgroup_limit_bytes) if facts.cgroup_limit_bytes is not None else "none"
    if facts.cgroup_limit_bytes is not None:
        limit += f", {_mib(facts.cgroup_used_bytes)} of it used (without page cache)"
    return [
        ("total", _mib(facts.total_bytes)),
        ("available", _mib(facts.available_bytes)),
        ("cgroup limit", limit if facts.cgroup_version is not None else _UNKNOWN),
        ("usable by models", _mib(facts.usable_bytes)),
        ("swap", f"{_mib(facts.swap_total_bytes)}, {_mib(facts.swap_free_bytes)} free"),
        ("zram", _mib(facts.zram_bytes)),
        ("pressure (some, full)", f"{_per_cent(facts.psi_some_avg10)}, {_per_cent(facts.psi_full_avg10)}"),
    ]


def cpu_rows(facts: CpuFacts) -> list[_Row]:
    """What is known about the CPU, as (name, value)."""
    cores = f"{_count(facts.usable_cores)} of {_count(facts.logical_cores)}"
    if facts.quota_cores is not None:
        cores += f", by a quota of {facts.quota_cores:.2f}"
    if facts.performance_cores is not None:
        cores += f", {facts.performance_cores} of them fast"
    return [
        ("model", facts.model_name or _UNKNOWN),
        ("architecture", facts.architecture or _UNKNOWN),
        ("usable cores", cores),
        ("instruction sets", " ".join(facts.instruction_sets) or _UNKNOWN),
        ("governor", facts.governor or _UNKNOWN),
        ("pressure (some)", _per_cent(facts.psi_some_avg10)),
    ]


def storage_rows(storage: Sequence[StorageFacts]) -> list[_Row]:
    """One row a device: path, device, kind, rate, latency, readahead, free space."""
    return [
        (
            facts.path,
            facts.device or _UNKNOWN,
            facts.kind,
            _UNKNOWN
            if facts.sequential_bytes_per_s is None
            else f"{facts.sequential_bytes_per_s / 1e6:.1f} MB/s",
            _UNKNOWN if facts.random_latency_s is None else f"{facts.random_latency_s * 1e3:.2f} ms",
            _UNKNOWN if facts.readahead_bytes is None else f"{facts.readahead_bytes >> 10} KiB",
            _mib(facts.free_bytes),
        )
        for facts in storage
    ]


def file_rows(files: Sequence[FileFacts]) -> list[_Row]:
    """One row a model file: path, size, cached share."""
    return [
        (
            facts.path,
            _mib(facts.size_bytes),
            _UNKNOWN if facts.cached_share is None else f"{facts.cached_share * 100:.0f} %",
        )
        for facts in files
    ]


def _model_dir(config_file: Path | None) -> Path:
    """The configured model directory; without a configuration on this machine, the default one."""
    from edged.config.load import load, standard_file
    from edged.config.paths import model_dir
    from edged.config.schema import Config
    from edged.errors import ConfigError

    if config_file is None:
        try:
            config_file = standard_file()
        except ConfigError:
            return model_dir(Config())
    return model_dir(load(config_file))


def _tables(snapshot: HardwareSnapshot) -> "Iterable[Table]":
    yield _table("Memory", (), memory_rows(snapshot.memory))
    yield _table("CPU", (), cpu_rows(snapshot.cpu))
    headings = ("path", "device", "kind", "sequential", "latency", "readahead", "free")
    yield _table("Storage, uncached reads", headings, storage_rows(snapshot.storage))
    if snapshot.files:
        yield _table("Model files", ("path", "size", "in page cache"), file_rows(snapshot.files))


def _table(title: str, headings: _Row, rows: Sequence[_Row]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a path may hold what rich takes for markup
    return table


def _mib(n_bytes: int | None) -> str:
    return _UNKNOWN if n_bytes is None else f"{n_bytes / (1 << 20):.1f} MiB"


def _per_cent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{share:.1f} %"


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else str(number)
