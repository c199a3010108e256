"""How long a model is away when something breaks under it, and what is lost.

`.venv/bin/python -m tests.bench.faults --help`; as root, for the disk that fails and the neighbour that eats
memory. SmolLM2 has one slot, works on a stream and has three more requests in its queue when the fault comes;
MiniLM and /livez are asked all the time beside it.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import report
from tests.bench.device_memory import kills
from tests.device.device import Device, why_not
from tests.device.limits import Limits
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.faults import failing_disk, neighbour, strike

_HANG_TIMEOUT_S = 2.0
_RAM_BYTES = 800 << 20
_NEIGHBOUR_S = 10.0


class Row(NamedTuple):
    """One fault, once."""

    fault: str
    lost: str
    again_s: float  # from the fault, or from when it was mended, to the next answer


@contextmanager
def _daemon(models: Path, device: Device | None = None, **smollm2: object) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = Path(folder, "edged.yaml")
        settings = {
            "storage": {"model_dir": str(models), "state_dir": f"{folder}/state"},
            "memory": {"reserve": "64MiB"},
            "loading": {"hang_timeout": f"{_HANG_TIMEOUT_S}s"},
            "models": {
                "minilm": {"file": "minilm.gguf", "pinned": True},
                "smollm2": {"file": "smollm2.gguf", "repack": False, **smollm2},
            },
        }
        config.write_text(yaml.safe_dump(settings))
        with Daemon(config, device=device) as daemon:
            daemon.wait_ready()
            yield daemon


def _killed(models: Path, number: signal.Signals) -> Row:
    with _daemon(models, n_seq_max=1) as daemon:
        outcome = strike(daemon, lambda: os.kill(daemon.model("smollm2")["pid"], number))
    kept = f"{outcome.queued.count(200)} of {len(outcome.queued)} queued answered"
    beside = "all beside it answered" if outcome.others == {200} else f"beside it: {sorted(outcome.others)}"
    return Row(number.name, f"the stream at work; {kept}; {beside}", outcome.again_s)


def _file_gone(models: Path, *, cut: bool) -> Row:
    """The file is deleted, or cut short, while loaded; the time is from when a whole one is there again."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-", dir="/var/tmp") as folder:
        shutil.copytree(models, folder, dirs_exist_ok=True)
        path = Path(folder, "smollm2.gguf")
        whole = Path(shutil.copy2(path, Path(folder, "whole")))
        with _daemon(Path(folder), strategy="lazy") as daemon:
            if cut:
                os.truncate(path, 5_000_000)
                status = daemon.chat("hello")[0]
                return Row(
                    "file cut short", f"the request that met it ({status})", _mended(daemon, whole, path)
                )
            path.unlink()
            status = daemon.chat("hello")[0]
            daemon.call("POST", "/edged/v1/models/smollm2/unload")
            return Row("file deleted", f"nothing while loaded ({status})", _mended(daemon, whole, path))


def _mended(daemon: Daemon, whole: Path, path: Path) -> float:
    whole.replace(path)
    return _served(daemon, time.monotonic())


def _served(daemon: Daemon, begin_s: float) -> float:
    """Ask for a load, and then until there is an answer; the seconds since `begin_s`."""
    while True:
        daemon.call("POST", "/edged/v1/models/smollm2/load")
        if daemon.chat("hello")[0] == 200:
            return time.monotonic() - begin_s
        assert time.monotonic() - begin_s < PATIENCE_S, "".join(daemon.output)


def _disk_fails(models: Path) -> Row:
    with (
        tempfile.TemporaryDirectory(prefix="edged-bench-", dir="/var/tmp") as folder,
        failing_disk(Path(folder), models / "smollm2.gguf") as (disk, fail, mend),
        _daemon(models, file=str(disk / "smollm2.gguf"), strategy="lazy") as daemon,
    ):
        fail()
        status = daemon.chat("hello")[0]
        mend()
        return Row(
            "disk errors (EIO)", f"the request that met it ({status})", _served(daemon, time.monotonic())
        )


def _neighbour(models: Path, share: float, within_s: float) -> Row:
    """Somebody takes a share of the device's memory for a while; the time is from when it leaves."""
    with Device(Limits(ram_bytes=_RAM_BYTES)) as device, _daemon(models, device) as daemon:
        statuses = []
        with neighbour(device, int(_RAM_BYTES * share), within_s):
            end_s = time.monotonic() + _NEIGHBOUR_S
            while time.monotonic() < end_s:
                statuses.append(daemon.embed("the pinned model serves")[0])
        begin_s = time.monotonic()
        again_s = _served(daemon, begin_s)
        lost = len(statuses) - statuses.count(200)
        killed = kills(device.folders)
    name = f"neighbour takes {share:.0%} in {within_s:g} s"
    return Row(name, f"{lost} of {len(statuses)} to the pinned model; {killed} killed by the kernel", again_s)


def _faults(models: Path) -> Iterator[Callable[[], Row]]:
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP):
        yield lambda number=number: _killed(models, number)  # type: ignore[misc]
    yield lambda: _file_gone(models, cut=False)
    yield lambda: _file_gone(models, cut=True)
    if os.geteuid() == 0:
        yield lambda: _disk_fails(models)
    if why_not(Limits(ram_bytes=_RAM_BYTES)) is None:
        yield lambda: _neighbour(models, 0.6, within_s=4.0)
        yield lambda: _neighbour(models, 0.75, within_s=0.0)


@click.command(help=__doc__)
@click.option("--repetitions", default=3, show_default=True)
@click.option("--model-dir", "folder", default=str(model_dir(Config())), show_default=True)
def main(repetitions: int, folder: str) -> None:
    """Print the table."""
    rows = []
    for fault in _faults(Path(folder)):
        done = [fault() for _ in range(repetitions)]
        lost = "; or: ".join(sorted({row.lost for row in done}))
        rows.append([done[0].fault, lost, report.seconds([row.again_s for row in done])])
    report.print_table(
        "What breaks under SmolLM2",
        "From the fault, or from when its cause is gone, to the next answer.",
        ["fault", "lost", "served again after, s"],
        rows,
    )


if __name__ == "__main__":
    main()
