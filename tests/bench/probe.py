"""How near the probe's rate comes to the storage's, how much it reads and how long it takes.

Run as root: `.venv/bin/python -m tests.bench.probe --help`; README.md beside this file says more.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click
import msgspec

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import report
from tests.bench.models import installed
from tests.bench.probe_once import Probed
from tests.device.device import Device, why_not
from tests.device.limits import PROFILES

_CAPTION = (
    "MB/s: median (range). truth: the emulated rate, or what the loader's reads get where none is emulated.\n"
    "measured: by timed reads alone, control groups hidden; error: of its median, and the worst.\n"
    "bounded: for planning, at most the control group's limit. That is looked up, not measured, so\n"
    "this column says nothing about how well the probe measures.\n"
    "MB read, s: of the probe at most, by the kernel's books."
)
_LOADER_S = 0.8  # long enough for several slices of a limit


def measure(profile: str, model: Path, use_limit: bool) -> Probed:
    """One probe of a cold file in a new process on the device. Raises CalledProcessError."""
    with Device(PROFILES[profile]) as device:
        device.cold(model)
        argv = [
            sys.executable,
            "-m",
            "tests.bench.probe_once",
            str(model),
            str(_LOADER_S),
            str(int(use_limit)),
        ]
        with device.run(argv, stdout=subprocess.PIPE) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, argv)
        return msgspec.json.decode(output, type=Probed)


def row(profile: str, probes: Sequence[Probed], by_reads: Sequence[Probed]) -> list[str]:
    """One line of the table."""
    everything = [*probes, *by_reads]
    loader = [probe.loader_bytes_per_s for probe in everything]
    truth = PROFILES[profile].read_bytes_per_s or statistics.median(loader)
    return [
        profile,
        f"{truth / 1e6:.0f}",
        megabytes(loader),
        megabytes(measured := [probe.bytes_per_s or 0.0 for probe in by_reads]),
        errors(measured, truth),
        megabytes([probe.bytes_per_s or 0.0 for probe in probes]),
        f"{max(probe.read_bytes for probe in everything) / 1e6:.1f}",
        f"{max(probe.took_s for probe in everything):.3f}",
    ]


def megabytes(rates: Sequence[float]) -> str:
    """Median and range in MB/s."""
    low, high = min(rates) / 1e6, max(rates) / 1e6
    return f"{statistics.median(rates) / 1e6:.1f} ({low:.1f}-{high:.1f})"


def errors(rates: Sequence[float], truth: float) -> str:
    """How far the median is off, and the worst."""
    worst = max((rate / truth - 1 for rate in rates), key=abs)
    return f"{statistics.median(rates) / truth - 1:+.1%}, {worst:+.1%}"


@click.command()
@click.option("--model", default="gemma3-270m", show_default=True, help="The model whose file is probed by.")
@click.option(
    "--profile", "profiles", multiple=True, type=click.Choice(list(PROFILES)), help="Only this device."
)
@click.option("--repetitions", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
def main(model: str, profiles: tuple[str, ...], repetitions: int, folder: Path | None) -> None:
    """Measure the probe itself on emulated devices."""
    chosen = profiles or tuple(PROFILES)
    for profile in chosen:
        if reason := why_not(PROFILES[profile]):
            raise click.ClickException(reason)
    folder = folder or model_dir(Config())
    files = [found.file for found in installed(folder) if found.id == model]
    if not files:
        raise click.ClickException(f"no {model} in {folder}: run `edged pull {model}`")
    probes: dict[tuple[str, bool], list[Probed]] = {key: [] for key in product(chosen, (True, False))}
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="edged-bench-") as own:
        # A copy: whoever has the installed file mapped would keep it in the page cache.
        file = Path(shutil.copy(files[0], own))
        for _, key in product(range(repetitions), probes):
            probes[key].append(measure(key[0], file, key[1]))
    columns = ("device", "truth", "loader", "measured", "error", "bounded", "MB read", "s")
    rows = [row(profile, probes[profile, True], probes[profile, False]) for profile in chosen]
    report.print_table(f"The probe, {model}, {repetitions} repetitions", _CAPTION, columns, rows)


if __name__ == "__main__":
    main()
