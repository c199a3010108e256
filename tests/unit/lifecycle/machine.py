"""A machine with so much memory, whose runners live in this process and answer at once."""

import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from edged.config.schema import Bytes, Config, Loading, Memory, Model, Seconds
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle import runs
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.process import Event
from edged.lifecycle.signs import Signs
from edged.policy.types import LoadPlan
from edged.runner import protocol
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import PATIENCE_S, READY, Noted

MIB = 1 << 20
_QUICK = Loading(restart_backoff=Seconds(0.01))


class Machine:
    """Counts what its runners hold, from the spawn of each until it is reaped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
        self.most_bytes = 0
        self.loads: list[str] = []
        self.ignores_shutdown: set[str] = set()
        self.crashes: Callable[[str], bool] = lambda _model: False
        self._held_bytes: dict[int, int] = {}
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._pause = threading.Event()
        monkeypatch.setattr(runs, "RunnerProcess", lambda _module, _inherited: Prompt(self))

    def take(self, process: "Prompt", model: str, n_bytes: int) -> None:
        """A runner has begun to load."""
        with self._lock:
            self.loads.append(model)
            self._held_bytes[id(process)] = n_bytes
            self.most_bytes = max(self.most_bytes, sum(self._held_bytes.values()))

    def give_back(self, process: "Prompt") -> None:
        """A runner has been reaped."""
        with self._lock:
            self._held_bytes.pop(id(process), None)

    @property
    def held_bytes(self) -> int:
        """What its runners hold now."""
        return sum(self._held_bytes.values())

    def dawdle(self) -> None:
        """Take a moment, or none."""
        with self._lock:
            pause_s = self._random.choice((0.0, 0.0, 0.001, 0.004))
        self._pause.wait(pause_s)


class Prompt:
    """Stands in for `RunnerProcess`: ready after a moment, and answers each embedding after another one."""

    pid = None
    last_log_lines = ()

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._model = ""
        self._frames: queue.SimpleQueue[protocol.ToRunner | None] = queue.SimpleQueue()

    def send(self, frame: protocol.ToRunner) -> None:
        if isinstance(frame, protocol.Start):
            self._model, _, size = frame.path.removeprefix("fake:embed?").partition("=")
            self._machine.take(self, self._model, int(size))
        self._frames.put(frame)

    def events(self, patience: Callable[[], float | None]) -> Iterator[Event]:
        while True:
            patience()
            frame = self._frames.get(timeout=PATIENCE_S)
            self._machine.dawdle()
            if frame is None:
                return
            if isinstance(frame, protocol.Shutdown) and self._model not in self._machine.ignores_shutdown:
                return
            if isinstance(frame, protocol.Start):
                yield READY
            if isinstance(frame, protocol.Cool):
                yield protocol.Cooled(done=True, shrunk=frame.shrink, freed_bytes=MIB)
            if isinstance(frame, protocol.Embed):
                if self._machine.crashes(self._model):
                    return
                yield protocol.Embeddings(id=frame.id, n_embd=1, n_tokens=(1,), vectors=bytes(4))

    def computing(self) -> frozenset[int]:
        return frozenset()

    def ping(self) -> None: ...
    def signs(self, *, loading: bool) -> Signs:  # noqa: ARG002
        return Signs()

    def interrupt(self) -> None:
        self._frames.put(None)

    def kill(self) -> None:
        self._frames.put(None)

    def close(self) -> int:
        self._machine.dawdle()
        self._machine.give_back(self)
        return 0


def sized_plan(model: str, n_bytes: int, *, at_start: bool = False) -> LoadPlan:
    """A plan for an embedding model that takes so much anonymous memory."""
    plan = fake_plan(model, f"fake:embed?{model}={n_bytes}", at_start=at_start)
    predicted = msgspec.structs.replace(plan.predicted, anon_bytes=n_bytes, file_bytes=0, started_s=1.0)
    return msgspec.structs.replace(plan, predicted=predicted)


def planned_of(sizes: dict[str, int]) -> Planned:
    """Plans for models by size, none of which is loaded at start."""
    snapshot = HardwareSnapshot(memory=MemoryFacts(), cpu=CpuFacts(usable_cores=2))
    plans = tuple(sized_plan(model, n_bytes) for model, n_bytes in sizes.items())
    return Planned(snapshot=snapshot, plans=plans, problems={})


def pool_of(
    sizes: dict[str, int],
    budget_bytes: int,
    *,
    noted: Noted | None = None,
    loading: Loading = _QUICK,
    **settings: dict[str, Any],
) -> Pool:
    """A pool of models by size, none loaded; `settings` by model."""
    config = Config(
        memory=Memory(budget=Bytes(budget_bytes)),
        loading=loading,
        models={model: Model(file="fake:", preload=False, **settings.get(model, {})) for model in sizes},
    )
    return Pool(config, lambda _ahead: planned_of(sizes), noted or Noted())


def no_thread_is_left(before: Sequence[threading.Thread]) -> bool:
    """Whether all threads that began since then end."""
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(PATIENCE_S)
    return not any(thread.is_alive() for thread in left)
