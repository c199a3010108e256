"""The engine thread: the one thread that owns the llama.cpp context.

Others post commands and never touch its state; `cancel` and `stop` may also interrupt a computation.
"""

import ctypes
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from edged.errors import ComputeFailed
from edged.runner.protocol import FromRunner, Gauges, Limit, Rejected, Warmed

Job = TypeVar("Job", contravariant=True)
EXIT_ENGINE_DIED = 70

Send = Callable[[FromRunner], None]

_GAUGES_EVERY_S = 0.25
DAMAGED = "the model computes no finite numbers: its file is damaged (see `edged models --verify`)"


class Worker(Protocol[Job]):
    """What computes: generation or embedding. Everything here runs on the engine thread."""

    @property
    def idle(self) -> bool:
        """Nothing is left to do."""

    @property
    def computing(self) -> frozenset[int]:
        """The requests that the next `step` computes for; empty when it is not known before."""

    def add(self, job: Job) -> None:
        """Queue a job, or reject it."""

    def cancel(self, request: int) -> None:
        """Drop a request wherever it is; unknown ids are those that have just finished."""

    def limit(self, limits: Limit) -> None:
        """Go on by other limits."""

    def step(self) -> None:
        """One batch: schedule, compute, send."""

    def warm(self) -> None:
        """Run a real batch, if nothing else just did. Raises ComputeFailed when it gives no numbers."""

    def gauges(self) -> Gauges:
        """The state to show."""


class Engine(Generic[Job]):
    """Runs a worker's steps while there is work, and waits when there is none."""

    def __init__(
        self,
        worker: Worker[Job],
        abort_flag: ctypes.c_int,
        send: Send,
        first_wait: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
        show_computing: Callable[[frozenset[int]], None] = lambda _requests: None,
    ) -> None:
        """`first_wait` returns when there is something to compute with; jobs are kept meanwhile.

        `beat` is called at every turn, `show_computing` before every batch.
        """
        self._worker = worker
        self._first_wait = first_wait
        self._beat = beat
        self._show_computing = show_computing
        self._abort_flag = abort_flag
        self._send = send
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._interrupt = threading.Lock()
        self._computing: frozenset[int] = frozenset()
        self._cancelled: set[int] = set()
        self._stopping = False
        self._wake: Callable[[], None] = _nothing
        self._shown = (0.0, Gauges(busy_slots=0, queued_requests=0, queued_tokens=0))
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._commands.put(lambda: self._worker.add(job))

    def cancel(self, request: int) -> None:
        """Drop a request; a computation that serves nobody else is interrupted."""
        with self._interrupt:
            if request in self._computing:
                self._cancelled.add(request)
                self._abort_flag.value = self._computing <= self._cancelled
        self._commands.put(lambda: self._worker.cancel(request))

    def limit(self, limits: Limit) -> None:
        """Go on by other limits."""
        self._commands.put(lambda: self._worker.limit(limits))

    def warm_up(self) -> None:
        """Run a batch before anything is served, and return when it is done. Raises ComputeFailed.

        On the engine thread as everything else: OpenMP keeps its threads for each thread that ever computed,
        and does not let them wait by spinning any more when there are more of them than cores; every step
        would take twice as long.
        """
        outcome: queue.SimpleQueue[ComputeFailed | None] = queue.SimpleQueue()

        def warm() -> None:
            try:
                self._worker.warm()
            except ComputeFailed as error:
                outcome.put(error)
            else:
                outcome.put(None)

        self._commands.put(warm)
        if (failure := outcome.get()) is not None:
            raise failure

    def warm(self, request: int) -> None:
        """Run a batch for its own sake and say `Warmed`."""
        self._commands.put(lambda: self._warm(request))

    def rest(self, give_back: Callable[[], None], wake: Callable[[], None], busy: Callable[[], None]) -> None:
        """Give memory back if there is nothing to do; `wake` has it again, before the next computation.

        Both run on the engine's thread; `busy` does where there is something to do.
        """

        def rest() -> None:
            if self._worker.idle:
                self._wake = wake
                give_back()
            else:
                busy()

        self._commands.put(rest)

    def ping(self) -> None:
        """Take a turn, and so show life, though there may be nothing to do."""
        self._commands.put(lambda: None)

    def stop(self) -> None:
        """Interrupt what is computed, and return when the thread has ended."""
        with self._interrupt:
            self._stopping = True
            self._abort_flag.value = 1
        self._commands.put(lambda: None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._first_wait()
            while not self._stopping:
                self._beat()
                self._take_commands()
                if not self._stopping and not self._worker.idle:
                    self._step()
                self._show()
        except BaseException:  # noqa: BLE001  # whatever it was: a runner without its engine would hang
            traceback.print_exc()
            os._exit(EXIT_ENGINE_DIED)

    def _take_commands(self) -> None:
        if self._worker.idle:
            self._commands.get()()
        while not self._commands.empty():
            self._commands.get()()

    def _woken(self) -> Worker[Job]:
        """The worker, with all that it computes with."""
        wake, self._wake = self._wake, _nothing
        wake()
        return self._worker

    def _step(self) -> None:
        with self._interrupt:
            self._computing = self._worker.computing
            self._cancelled.clear()
            self._abort_flag.value = self._stopping
        self._show_computing(self._computing)
        self._woken().step()
        with self._interrupt:
            self._computing = frozenset()
            self._abort_flag.value = self._stopping  # a warm-up may compute before the next step

    def _warm(self, request: int) -> None:
        begin_s = time.monotonic()
        try:
            self._woken().warm()
        except ComputeFailed as error:
            self._send(Rejected(id=request, kind="failed", message=f"the warm-up failed: {error}"))
        else:
            self._send(Warmed(request, time.monotonic() - begin_s))

    def _show(self) -> None:
        shown_s, shown = self._shown
        now_s, gauges = time.monotonic(), self._worker.gauges()
        if gauges != shown and (self._worker.idle or now_s - shown_s >= _GAUGES_EVERY_S):
            self._shown = (now_s, gauges)
            self._send(gauges)


def _nothing() -> None:
    """What an engine that does not rest wakes up for."""
