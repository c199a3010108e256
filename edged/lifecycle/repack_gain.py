"""Measures what repacking gains on this CPU, while nobody wants anything of edged.

The measuring process takes a second or two of CPU time for each type of weights, once per CPU and build of
llama.cpp. It begins when the models loaded at start answer and nothing has happened for a while. It is
killed when a request comes or edged stops, and begins again later. What it finds is for the next plan.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from edged.hw.memory import memory_facts
from edged.hw.pressure import pressure
from edged.lifecycle.process import llama_libraries, plain_environment
from edged.policy.types import RepackGain

log = logging.getLogger(__name__)

QUIET_S = 5.0
_COMMAND = (sys.executable, "-m", "edged.runner.repack_gain")
_LONGEST_PAUSE_S = 600.0
_DISTURBED = 75  # how the process says that others had the cores
_MOST_S = 120.0  # for the slowest board
_ROOM_BYTES = 160 << 20  # the process takes half of that
_BUSY_PERCENT = 20.0  # of the time somebody waits for a core: measured then, nothing would be true


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure: weight types by the key under which the gain is kept, and with what."""

    weight_types: Mapping[str, str]
    n_threads: int
    lease_fd: int
    is_idle: Callable[[], bool]


class GainMeter:
    """One thread that waits for quiet and measures. `interrupt` and `close` are for any thread."""

    def __init__(
        self,
        keep: Callable[[str, RepackGain], None],
        quiet_s: float = QUIET_S,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """`keep` is told each gain; with a `quiet_s` of 0 nothing is waited for.

        `command` gets the type, the threads and the lease's descriptor.
        """
        self._keep = keep
        self._quiet_s = quiet_s
        self._command = command
        self._changed = threading.Condition()
        self._busy_at_s = time.monotonic()
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, work: Work) -> None:
        """Measure as soon as it is quiet. Returns at once; once in a meter's life."""
        if work.weight_types and not self._closed:
            self._thread = threading.Thread(target=self._run, args=(work,), name="repack-gain", daemon=True)
            self._thread.start()

    def interrupt(self) -> None:
        """Somebody wants something: stop measuring and wait until it is quiet again."""
        with self._changed:
            self._busy_at_s = time.monotonic()
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Stop for good; returns when the process has ended."""
        with self._changed:
            self._closed = True
            if self._child is not None:
                self._child.kill()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self, work: Work) -> None:
        for key, weight_type in work.weight_types.items():
            gain = None
            while gain is None:
                if not self._wait_for_quiet(work.is_idle):
                    return
                try:
                    gain = self._measure(weight_type, work)
                except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                    log.warning("what repacking %s gains cannot be measured: %s", weight_type, error)
                    break
            if gain is not None:
                log.info(
                    "repacked %s weights on this CPU: prompt speed x%.2f, answer speed x%.2f",
                    weight_type, gain.prompt_ratio, gain.answer_ratio,
                )  # fmt: skip
                self._keep(key, gain)

    def _wait_for_quiet(self, is_idle: Callable[[], bool]) -> bool:
        """False: closed, or there is no memory to measure in."""
        while not self._closed:
            quiet = is_idle() and (pressure("cpu").some_avg10 or 0.0) < _BUSY_PERCENT
            with self._changed:
                now_s = time.monotonic()
                if not quiet:
                    self._busy_at_s = now_s
                left_s = self._busy_at_s + self._quiet_s - now_s
                if left_s > 0 and not self._closed:
                    self._changed.wait(left_s)
                    continue
            room_bytes = memory_facts().usable_bytes
            if room_bytes is not None and room_bytes < _ROOM_BYTES:
                log.info("there is too little free memory to measure what repacking gains")
                return False
            return not self._closed
        return False

    def _measure(self, weight_type: str, work: Work) -> RepackGain | None:
        """None: interrupted or disturbed. Raises OSError, ValueError or TimeoutExpired: it cannot be done."""
        began_s = time.monotonic()
        with self._changed:
            if self._closed or began_s - self._busy_at_s < self._quiet_s:
                return None
            self._child = child = subprocess.Popen(
                [*self._command, weight_type, str(work.n_threads), str(work.lease_fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[work.lease_fd],
                env=plain_environment(os.environ),
                start_new_session=True,
            )
        try:
            output, said = child.communicate(timeout=_MOST_S)
        finally:
            with self._changed:
                self._child = None
            if child.poll() is None:
                child.kill()
                child.communicate()
        if self._closed or self._busy_at_s > began_s:
            return None
        if child.returncode == _DISTURBED:
            self._quiet_s = min(_LONGEST_PAUSE_S, 2 * self._quiet_s)
            with self._changed:
                self._busy_at_s = time.monotonic()
            return None
        if child.returncode != 0:
            raise ValueError(f"exit code {child.returncode}: {said.decode('utf-8', 'replace')[-500:]}")
        return msgspec.json.decode(output, type=RepackGain)


def llama_build() -> str:
    """Which llama.cpp is installed, by the library that computes; empty where there is none to be found.

    Its version would not tell a build for another instruction set.
    """
    folder = llama_libraries()
    if folder is None:
        return ""
    library = folder / "libggml-cpu.so"
    try:
        facts = library.stat()
    except OSError as error:
        log.debug("%s: %s", library, error)
        return ""
    return f"{facts.st_size}-{facts.st_mtime_ns}"
