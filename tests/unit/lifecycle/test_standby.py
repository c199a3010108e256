"""When a spare runner is started, handed out, ended and replaced; and one real one."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edged.config.schema import Config, Loading, Model
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle import standby as standby_module
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.relief import Relief
from edged.lifecycle.served import Served
from edged.lifecycle.standby import Standby
from edged.lifecycle.status import ModelStatus
from edged.runner import protocol
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import PATIENCE_S

GIB = 1 << 30


class Waiting:
    """Stands in for a runner's process."""

    pid = 1

    def __init__(self) -> None:
        self.alive = True
        self.is_idle = False
        self.closed = False
        self.last_log_lines: tuple[str, ...] = ()

    def kill(self) -> None:
        self.alive = self.is_idle = False

    def read_log(self) -> None:
        self.last_log_lines = ("no module named llama_cpp",)

    def close(self) -> int:
        assert not self.alive
        self.closed = True
        return 1


class Handle:
    """A model in any state."""

    def __init__(self, path: str = "m.gguf", **status: Any) -> None:
        self.plan = fake_plan(path=path)
        self._status = {
            "model": "m",
            "kind": "generate",
            "strategy": "stream",
            "load_at_start": False,
        } | status

    def status(self) -> ModelStatus:
        return msgspec.convert(self._status, ModelStatus)


class Bench:
    """A standby whose keeper looks when it is told to, on a machine of 8 GiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[Waiting] = []
        self.memory = MemoryFacts(total_bytes=8 * GIB)
        self.room_bytes = GIB
        self.handle: Any = Handle(state="unloaded")
        self.mode: Any = "auto"
        self.refuses = False
        self.now_s = 1e9
        monkeypatch.setattr(standby_module, "RunnerProcess", self._process)
        monkeypatch.setattr(standby_module, "memory_facts", lambda: self.memory)
        monkeypatch.setattr("edged.lifecycle.standby.time.monotonic", lambda: self.now_s)
        self.standby = Standby(0, (), self._served, lambda: self.room_bytes)

    def _process(self, _module: str, _inherited: Sequence[int], *, spare: bool) -> Any:
        assert spare
        if self.refuses:
            raise BlockingIOError("no more processes")
        self.started.append(Waiting())
        return self.started[-1]

    def _served(self) -> Served:
        config = Config(models={"m": Model(file="m.gguf")}, loading=Loading(spare_runner=self.mode))
        return Served(config=config, handles={"m": self.handle})

    def look(self, after_s: float = 1.0) -> Waiting | None:
        """Let the keeper look; the spare that there is then."""
        self.now_s += after_s
        self.standby._look(self.now_s)
        return self.started[-1] if self.standby.pid is not None else None


@pytest.fixture(name="bench")
def _bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_it_is_taken_once_it_waits_and_replaced(bench: Bench) -> None:
    first = bench.look()
    assert first is not None
    assert bench.standby.take_for(fake_plan()) is None
    first.is_idle = True
    taken: Any = bench.standby.take_for(fake_plan())
    assert taken is first
    assert bench.standby.take_for(fake_plan()) is None
    assert bench.standby.pid is None
    second = bench.look()
    assert second is not None
    assert second is not first
    assert not first.closed


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"state": "unloaded"}, True),
        ({"state": "failed"}, True),
        ({"state": "ready"}, False),
        ({"state": "loading"}, False),
        ({"state": "unloading"}, False),
    ],
)
def test_one_is_started_where_a_model_could_load_and_none_does(
    bench: Bench, status: dict[str, Any], wanted: bool
) -> None:
    bench.handle = Handle(**status)
    assert (bench.look() is not None) == wanted


@pytest.mark.parametrize(
    ("mode", "state", "total_mib", "room_mib", "wanted"),
    [
        ("off", "unloaded", 8192, 4096, False),
        ("on", "ready", 8192, 4096, True),
        ("on", "unloaded", 512, 200, True),
        ("auto", "unloaded", 512, 200, False),
        ("auto", "unloaded", 1024, 200, True),
        ("on", "unloaded", 8192, 12, False),
    ],
)
def test_the_setting(
    bench: Bench, mode: str, state: str, total_mib: int, room_mib: int, wanted: bool
) -> None:
    bench.mode, bench.handle = mode, Handle(state=state)
    bench.memory, bench.room_bytes = MemoryFacts(total_bytes=total_mib << 20), room_mib << 20
    assert (bench.look() is not None) == wanted


def test_a_model_without_a_real_runner_needs_none(bench: Bench) -> None:
    bench.handle = Handle(path="fake:generate", state="unloaded")
    assert bench.look() is None


def test_computing_is_not_disturbed_but_does_not_keep_it_away_for_ever(bench: Bench) -> None:
    bench.mode, bench.handle = "on", Handle(state="ready", busy_slots=1)
    assert bench.look() is None
    assert bench.look(20.0) is None
    assert bench.look(20.0) is not None
    bench.started[-1].kill()
    bench.handle = Handle(state="loading")
    bench.look(1000.0)
    assert bench.look(1000.0) is None


def test_it_gives_way_where_memory_is_wanted(bench: Bench) -> None:
    spare = bench.look()
    assert spare is not None
    bench.room_bytes = 10 << 20
    assert bench.look() is None
    assert spare.closed
    assert bench.look() is None
    bench.room_bytes = 100 << 20
    assert bench.look() is not None


def test_under_pressure_it_ends_at_once_and_stays_away_for_a_while(bench: Bench) -> None:
    spare = bench.look()
    assert spare is not None
    bench.standby.give_up()
    assert spare.closed
    assert bench.look(1.0) is None
    assert bench.look(10.0) is not None


def test_it_is_the_first_to_go_when_memory_is_short(bench: Bench) -> None:
    spare = bench.look()
    assert spare is not None
    pool: Any = SimpleNamespace(standby=bench.standby, handles={})
    Relief(pool).read_ahead(allowed=False)
    assert spare.closed
    bench.look(9.0)
    Relief(pool).read_ahead(allowed=False)
    assert bench.look(9.0) is None
    Relief(pool).read_ahead(allowed=True)
    assert bench.look(2.0) is not None


def test_one_that_dies_is_replaced_ever_later(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pauses_s = []
    for _ in range(3):
        spare = bench.look(0.0)
        assert spare is not None
        spare.kill()
        assert bench.look(0.0) is None
        assert spare.closed
        began_s = bench.now_s
        while bench.look(1.0) is None:
            assert bench.now_s < began_s + 1000
        pauses_s.append(bench.now_s - began_s)
    assert pauses_s == [10, 20, 40]
    assert "has ended (exit code 1): no module named llama_cpp" in caplog.text
    bench.started[-1].is_idle = True
    bench.look()
    bench.started[-1].kill()
    bench.look()
    assert bench.look(10.0) is not None, "one that came up makes failures before it forgotten"


def test_one_that_hangs_is_replaced(bench: Bench) -> None:
    spare = bench.look()
    assert spare is not None
    spare.is_idle = True
    bench.look(1000.0)
    assert bench.look(1000.0) is spare
    spare.is_idle = False
    bench.look(100.0)
    assert not spare.closed
    bench.look(100.0)
    assert spare.closed


def test_no_more_processes(bench: Bench) -> None:
    bench.refuses = True
    assert bench.look() is None
    bench.refuses = False
    assert bench.look(1.0) is None
    assert bench.look(10.0) is not None


def test_the_end_of_one_that_was_taken_meanwhile_is_the_takers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = bench.look()
    assert spare is not None
    spare.is_idle = True
    bench.mode = "off"
    served = bench._served()

    def taken_while_it_looks() -> Served:
        bench.standby.take_for(fake_plan())
        return served

    monkeypatch.setattr(bench.standby, "_served", taken_while_it_looks)
    bench.look()
    assert not spare.closed


@pytest.fixture(name="keeping")
def _keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Standby]]:
    """Standbys with real processes, whose keepers look all the time."""
    monkeypatch.setattr(standby_module, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(standby_module, "_LOOK_AFTER_IT_EVERY_S", 0.02)
    monkeypatch.setattr(standby_module, "_PAUSE_S", 0.02)
    config = Config(models={"m": Model(file="m.gguf")}, loading=Loading(spare_runner="on"))
    handle: Any = Handle(state="unloaded")
    standby = Standby(0, (), lambda: Served(config=config, handles={"m": handle}), lambda: GIB)
    standby.begin(0)
    yield lambda: standby
    standby.close()


def _waiting(standby: Standby) -> RunnerProcess:
    while (process := standby.take_for(fake_plan())) is None:
        os.sched_yield()
    return process


def test_a_real_one_is_ready_to_load_and_its_end_is_seen(keeping: Callable[[], Standby]) -> None:
    standby = keeping()
    process = _waiting(standby)
    assert process.signs(loading=True).n_beats == 1
    process.send(protocol.Shutdown())  # no model: it ends
    assert list(process.events(lambda: PATIENCE_S)) == []
    assert process.close() == 1
    while (pid := standby.pid) is None:
        os.sched_yield()
    os.kill(pid, signal.SIGKILL)
    while standby.pid == pid:
        os.sched_yield()
    assert not Path("/proc", str(pid)).exists()


def test_one_that_was_stopped_is_not_handed_out(keeping: Callable[[], Standby]) -> None:
    standby = keeping()
    while standby._spare is None or not standby._spare.process.is_idle:
        os.sched_yield()
    pid = standby.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    assert standby.take_for(fake_plan()) is None
    os.kill(pid, signal.SIGCONT)
    process = _waiting(standby)
    assert process.pid == pid
    process.kill()
    process.close()


def test_closing_ends_it(keeping: Callable[[], Standby]) -> None:
    standby = keeping()
    while (pid := standby.pid) is None:
        os.sched_yield()
    standby.close()
    assert not Path("/proc", str(pid)).exists()
    assert standby.take_for(fake_plan()) is None
