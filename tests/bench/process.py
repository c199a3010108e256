"""A program under measurement: what it prints is timed from the moment of its start."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Protocol

_STOP_TIMEOUT_S = 30.0
_LOG_LINES = 15


class BenchFailed(Exception):
    """A measurement could not be taken; the message holds the end of the program's log."""


class Launcher(Protocol):
    """What starts a command: `Device.run`, or `start_here` for this machine as it is."""

    def __call__(self, argv: Sequence[str], *, stdout: int, stderr: IO[str]) -> "subprocess.Popen[str]": ...


def start_here(argv: Sequence[str], *, stdout: int, stderr: IO[str]) -> "subprocess.Popen[str]":
    """Start a command without limits, in a session of its own.

    Linux may share CPUs by session rather than process (autogroup, sched(7)), and edged's runners have
    their own: in the benchmark's session, other programs would get less beside a busy process.
    """
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, start_new_session=True
    )


class TimedProcess:
    """A running program, stopped by SIGTERM when the context ends."""

    def __init__(self, launch: Launcher, argv: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile("w+", prefix="edged-bench-")  # noqa: SIM115 closed by __exit__
        try:
            self._started = time.monotonic()
            self._process = launch(argv, stdout=subprocess.PIPE, stderr=self._log)
        except BaseException:
            self._log.close()
            raise
        self._drain: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of the program that was started."""
        return self._process.pid

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def wait_for_line(self, matches: Callable[[str], bool]) -> str:
        """The next line of its output that matches. Raises BenchFailed when the output ends before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if matches(line):
                return line
        raise self.failure("ended before it said what was waited for")

    def drain(self) -> None:
        """Read on and forget: a program whose output nobody reads stops at a full pipe."""
        assert self._process.stdout is not None
        self._drain = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._drain.start()

    def ended(self) -> bool:
        """Whether the program has ended by itself."""
        return self._process.poll() is not None

    def said(self) -> str:
        """Its log until now."""
        self._log.seek(0)
        return self._log.read()

    def failure(self, reason: str) -> BenchFailed:
        """An error with the reason, the exit code if any, and the end of the log."""
        tail = "".join(self.said().splitlines(keepends=True)[-_LOG_LINES:])
        return BenchFailed(f"{reason} (exit code {self._process.poll()}):\n{tail}")

    def __enter__(self) -> "TimedProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._drain is not None:
            self._drain.join(_STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
