"""Looking after a runner: with a clock that tests set, and with real processes that are stopped."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from edged.errors import RunnerFailed
from edged.lifecycle import vigil as vigil_module
from edged.lifecycle.events import Board
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.process import RunnerProcess
from edged.lifecycle.runs import Means
from edged.lifecycle.signs import Signs
from edged.lifecycle.supervision import Supervision
from edged.lifecycle.vigil import Hung, Vigil
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import PATIENCE_S, Noted, unlimited

HANG_S = 60.0


class Clock:
    """Stands in for the module `time`."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Runner:
    """Shows what a test says."""

    def __init__(self) -> None:
        self.shown = Signs()
        self.pings = 0

    def signs(self, *, loading: bool) -> Signs:  # noqa: ARG002
        return self.shown

    def ping(self) -> None:
        self.pings += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(vigil_module, "time", clock)
    return clock


@pytest.fixture
def runner() -> Runner:
    return Runner()


def _vigil(runner: Runner, state: str, load_s: float = 900.0) -> tuple[Vigil, Board]:
    board = Board(fake_plan())
    board.set(state=state)
    return Vigil(runner, board, HANG_S, load_s), board


def _watch(vigil: Vigil, clock: Clock, duration_s: float) -> None:
    """Look as often as it asks to."""
    end_s = clock.now_s + duration_s
    while clock.now_s < end_s:
        patience_s = vigil.patience_s()
        assert patience_s is not None
        clock.now_s += patience_s


def test_a_runner_that_shows_life_is_left_alone(clock: Clock, runner: Runner) -> None:
    vigil, _ = _vigil(runner, "ready")
    for beats in range(1000):
        runner.shown = Signs(n_beats=beats)
        _watch(vigil, clock, 50.0)
    assert runner.pings > 1000


@pytest.mark.parametrize("state", ["ready", "loading"])
def test_one_that_shows_none_hangs_after_the_time_that_is_stated(
    clock: Clock, runner: Runner, state: str
) -> None:
    vigil, board = _vigil(runner, state)
    runner.shown = Signs(n_beats=5)
    _watch(vigil, clock, HANG_S)
    began_s = clock.now_s
    with pytest.raises(Hung, match="no sign of life for 60 s"):
        _watch(vigil, clock, 1000.0)
    assert began_s <= clock.now_s <= began_s + 20.0
    assert board.moved_s == 1000.0


@pytest.mark.parametrize("moving", ["n_beats", "read_bytes", "major_faults", "cpu_ticks"])
def test_whatever_moves_is_life(clock: Clock, runner: Runner, moving: str) -> None:
    vigil, _ = _vigil(runner, "loading")
    for count in range(20):
        runner.shown = Signs(**{moving: count})
        _watch(vigil, clock, HANG_S * 0.9)


def test_a_ping_is_not_sent_to_a_runner_that_loads_and_reads_no_frames(clock: Clock, runner: Runner) -> None:
    vigil, _ = _vigil(runner, "loading")
    _watch(vigil, clock, HANG_S / 2)
    assert runner.pings == 0


def test_if_edged_itself_was_stopped_its_runners_are_not_to_blame(clock: Clock, runner: Runner) -> None:
    vigil, _ = _vigil(runner, "ready")
    _watch(vigil, clock, HANG_S / 2)
    clock.now_s += 10 * HANG_S
    _watch(vigil, clock, HANG_S / 2)


def test_an_unload_has_its_own_deadline(clock: Clock, runner: Runner) -> None:
    vigil, _ = _vigil(runner, "unloading")
    assert vigil.patience_s() is None
    clock.now_s += 10 * HANG_S
    assert vigil.is_kept


def test_a_supervisor_that_looks_no_more_is_noticed(clock: Clock, runner: Runner) -> None:
    vigil, _ = _vigil(runner, "ready")
    vigil.patience_s()
    assert vigil.is_kept
    clock.now_s += 100.0
    assert not vigil.is_kept


def test_a_load_has_a_deadline_though_it_shows_life(runner: Runner) -> None:
    vigil, board = _vigil(runner, "loading", load_s=1e-9)
    assert board.clock.elapsed_s > 1e-9
    with pytest.raises(RunnerFailed, match=r"loading\.load_timeout"):
        vigil.patience_s()


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def handle(noted: Noted) -> Iterator[RunnerHandle]:
    """A fake runner in a process of its own, which may be silent for a second."""
    supervision = Supervision(
        load_timeout_s=PATIENCE_S, hang_timeout_s=1.0, backoff_s=0.01, backoff_max_s=0.02,
        max_queue_requests=4, max_queue_tokens=100, lease_fd=None,
    )  # fmt: skip
    handle = RunnerHandle(
        fake_plan(path="fake:generate"), supervision, noted, Means(unlimited(), lambda _plan: None)
    )
    yield handle
    handle.close()


def test_a_stopped_runner_is_replaced_though_nobody_asks_it_anything(
    handle: RunnerHandle, noted: Noted
) -> None:
    handle.load("boot")
    handle.ensure_ready(PATIENCE_S)
    first = handle.status().pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    assert "hangs" in noted.next_failure()
    handle.ensure_ready(PATIENCE_S)
    assert handle.status().pid != first


def test_an_idle_runner_answers_pings_and_stays(
    handle: RunnerHandle, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For twice as long as it may be silent."""
    pinged = threading.Semaphore(0)
    ping = RunnerProcess.ping

    def counted(process: RunnerProcess) -> None:
        ping(process)
        pinged.release()

    monkeypatch.setattr(RunnerProcess, "ping", counted)
    handle.load("boot")
    handle.ensure_ready(PATIENCE_S)
    first = handle.status().pid
    for _ in range(8):
        assert pinged.acquire(timeout=PATIENCE_S)
    assert handle.status().pid == first
    assert noted.failures.empty()


def test_a_ping_to_a_runner_that_takes_nothing_more_is_left_out() -> None:
    process = RunnerProcess("edged.runner.fake", ())
    try:
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(200_000):  # far more than fit
            process.ping()
    finally:
        process.kill()
        process.close()
