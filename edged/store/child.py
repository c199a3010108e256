"""A downloader in a process of its own, watched by the bytes that appear in its folder.

Whatever it does (hang, crash, write without end), it ends with the pull: it is stopped on every way out.
"""

import contextlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edged.errors import PullError
from edged.store.work import folder_bytes

_LOOK_EVERY_S = 0.2
_STOP_GRACE_S = 5.0


class Watch:
    """What a child fills and how much of it is sane; `on_bytes` hears the size from time to time."""

    def __init__(self, folder: Path, limit_bytes: int, on_bytes: Callable[[int], None]) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._on_bytes = on_bytes
        self._before_bytes = folder_bytes(folder)

    def look(self) -> None:
        """Measure and report. Raises PullError when the child writes far more than it should."""
        now_bytes = folder_bytes(self._folder)
        if now_bytes - self._before_bytes > self._limit_bytes:
            raise PullError(f"downloads more than the {self._limit_bytes} bytes that were sane: stopped")
        self._on_bytes(now_bytes)


def run(argv: Sequence[str], environment: Mapping[str, str], log: Path, watch: Watch) -> tuple[int, str]:
    """Run to the end; returns the exit status and what it said. Raises PullError, and OSError as is."""
    with log.open("wb") as output, contextlib.ExitStack() as cleanup:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        cleanup.callback(_stop, process)
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_EVERY_S)
            watch.look()
    return process.returncode, log.read_text("utf-8", "replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
