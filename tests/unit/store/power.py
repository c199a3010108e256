"""Power cuts, as far as one machine can show them without pulling the plug."""

import os
import shutil
import signal
import sys

from edged.store import receipt
from edged.store.job import Wanted
from edged.store.pull import Place, pull
from tests.unit.store.samples import Recorder, leftovers


def _pull_and_die(wanted: Wanted, place: Place, at_operation: int) -> bool:
    """Pull in a child that gets SIGKILL just before its nth operation on a file; whether it died of that.

    The file system then is what a power cut leaves, as far as one machine can show without pulling the plug.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"):
                seen += str(place.model_dir) in str(arguments[0]) or isinstance(arguments[0], int)
                if seen >= at_operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            pull(wanted, place, Recorder())
            os._exit(0)
        finally:
            os._exit(1)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert exit_code in (0, -signal.SIGKILL)
    return exit_code != 0


def check_every_power_cut(wanted: Wanted, place: Place, before: bytes | None, after: bytes) -> int:
    """Die at each operation in turn, each time from the same start; returns how many operations there were.

    Whatever the death left, the model is the one from before or the new one, never a piece, nothing else
    bears a model's name, and the next pull finishes.
    """
    path = place.model_dir / "tiny.gguf"
    start = place.model_dir.with_name("start")
    place.model_dir.mkdir(exist_ok=True)
    shutil.copytree(place.model_dir, start)
    deaths = 0
    while _pull_and_die(wanted, place, at_operation=deaths + 1):
        deaths += 1
        assert (path.read_bytes() if path.exists() else None) in (before, after)
        assert set(place.model_dir.rglob("*.gguf")) <= {path}
        pull(wanted, place, Recorder())
        assert leftovers(place.model_dir) == []
        assert path.read_bytes() == after
        assert not receipt.changed_since_pull(path)
        shutil.rmtree(place.model_dir)
        shutil.copytree(start, place.model_dir)
    return deaths
