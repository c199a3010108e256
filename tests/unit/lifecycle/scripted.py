"""Runner processes that say what a test tells them to, and end when it says so."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from edged.config.schema import Memory
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle import runs
from edged.lifecycle.admission import Admission
from edged.lifecycle.process import Event
from edged.lifecycle.signs import Signs
from edged.lifecycle.status import Cause, Failure, UnloadCause
from edged.policy.types import LoadPlan
from edged.runner import protocol

PATIENCE_S = 20.0
READY = protocol.Ready(
    n_ctx=64,
    n_embd=4,
    n_vocab=100,
    chat=protocol.ChatFormat("hermes"),
    prefetch_done=True,
    lazy_map=True,
    timings_s={},
    anon_bytes=0,
)


def unlimited() -> Admission:
    """Where everything fits."""
    return Admission(Memory(), facts=MemoryFacts)


class Scripted:
    """Stands in for `RunnerProcess`."""

    pid = 1
    last_log_lines = ("the last line",)

    def __init__(self) -> None:
        self._script: queue.SimpleQueue[Event | int] = queue.SimpleQueue()
        self._code = 0
        self.sent: queue.SimpleQueue[protocol.ToRunner] = queue.SimpleQueue()
        self.kills = 0
        self.hangs = False
        self.at_work: frozenset[int] = frozenset()
        self._n_beats = 0
        self.before_reaping: Callable[[], None] = lambda: None

    def say(self, *events: Event) -> None:
        for event in events:
            self._script.put(event)

    def end(self, code: int = 0) -> None:
        self._script.put(code)

    def send(self, frame: protocol.ToRunner) -> None:
        self.sent.put(frame)

    def computing(self) -> frozenset[int]:
        return self.at_work

    def ping(self) -> None:
        self.sent.put(protocol.Ping())

    def signs(self, *, loading: bool) -> Signs:  # noqa: ARG002
        self._n_beats += not self.hangs
        return Signs(n_beats=self._n_beats)

    def next_sent(self, kind: type) -> protocol.ToRunner:
        while not isinstance(frame := self.sent.get(timeout=PATIENCE_S), kind):
            continue
        return frame

    def events(self, patience: Callable[[], float | None]) -> Iterator[Event]:
        while True:
            left_s = patience()
            try:
                event = self._script.get(timeout=PATIENCE_S if left_s is None else left_s)
            except queue.Empty:
                continue
            if isinstance(event, int):
                self._code = event
                return
            yield event

    def interrupt(self) -> None:
        self.end(-15)

    def kill(self) -> None:
        self.kills += 1
        self.end(-9)

    def close(self) -> int:
        self.before_reaping()
        return self._code


class Runners:
    """The processes that a handle spawns, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._spawned: queue.SimpleQueue[Scripted] = queue.SimpleQueue()
        monkeypatch.setattr(runs, "RunnerProcess", self._spawn)

    def _spawn(self, _module: str, _inherited: Sequence[int]) -> Any:
        process = Scripted()
        self._spawned.put(process)
        return process

    def next(self) -> Scripted:
        return self._spawned.get(timeout=PATIENCE_S)

    def none_left(self) -> bool:
        return self._spawned.empty()


class Noted:
    """An observer that remembers what failed."""

    def __init__(self) -> None:
        self.failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._unloads: queue.SimpleQueue[UnloadCause] = queue.SimpleQueue()
        self._causes: queue.SimpleQueue[Cause] = queue.SimpleQueue()

    def ready(
        self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float  # noqa: ARG002
    ) -> None:  # fmt: skip
        self._causes.put(cause)

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None: ...
    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None: ...
    def failed(self, plan: LoadPlan, reason: str, how: Failure) -> None:  # noqa: ARG002
        self.failures.put(reason)

    def unloaded(self, plan: LoadPlan, cause: UnloadCause) -> None:  # noqa: ARG002
        self._unloads.put(cause)

    def next_unload(self) -> UnloadCause:
        return self._unloads.get(timeout=PATIENCE_S)

    def next_cause(self) -> Cause:
        return self._causes.get(timeout=PATIENCE_S)

    def next_failure(self) -> str:
        return self.failures.get(timeout=PATIENCE_S)


def in_background(work: Callable[[], object]) -> threading.Thread:
    """A thread of its own."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold within the tests' patience."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.005) for _ in range(int(PATIENCE_S / 0.005)))
