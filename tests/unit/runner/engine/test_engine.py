"""The engine thread on its own."""

import ctypes
import threading

import pytest

from edged.errors import ComputeFailed
from edged.runner.engine.engine import Engine
from edged.runner.protocol import FromRunner, Gauges, Limit


class _Warming:
    """A worker that only warms up."""

    idle = True
    computing: frozenset[int] = frozenset()

    def __init__(self, failure: ComputeFailed | None = None) -> None:
        self.warmed_on: list[threading.Thread] = []
        self._failure = failure

    def warm(self) -> None:
        self.warmed_on.append(threading.current_thread())
        if self._failure:
            raise self._failure

    def add(self, job: int) -> None:
        raise AssertionError(job)

    def cancel(self, request: int) -> None:
        raise AssertionError(request)

    def limit(self, limits: Limit) -> None:
        raise AssertionError(limits)

    def step(self) -> None:
        raise AssertionError("there is nothing to compute")

    def gauges(self) -> Gauges:
        return Gauges(busy_slots=0, queued_requests=0, queued_tokens=0)


def _engine(worker: _Warming) -> Engine[int]:
    sent: list[FromRunner] = []
    return Engine(worker, ctypes.c_int(0), sent.append)


def test_the_thread_that_warms_up_is_the_one_that_serves() -> None:
    worker = _Warming()
    engine = _engine(worker)
    engine.start()
    engine.warm_up()
    engine.stop()
    assert [thread.name for thread in worker.warmed_on] == ["engine"]


def test_a_warm_up_that_fails_is_the_callers_to_handle() -> None:
    engine = _engine(_Warming(ComputeFailed("no numbers")))
    engine.start()
    with pytest.raises(ComputeFailed, match="no numbers"):
        engine.warm_up()
    engine.stop()


def test_an_idle_engine_shows_life_when_it_is_asked_to() -> None:
    beats = threading.Semaphore(0)
    engine = Engine[int](_Warming(), ctypes.c_int(0), lambda _frame: None, beat=beats.release)
    engine.start()
    assert beats.acquire(timeout=20), "it has begun"
    for _ in range(3):
        assert not beats.acquire(blocking=False)
        engine.ping()
        assert beats.acquire(timeout=20)
    engine.stop()


def test_an_engine_that_hangs_shows_none() -> None:
    beats = threading.Semaphore(0)
    stuck, free = threading.Event(), threading.Event()

    class Hanging(_Warming):
        def cancel(self, request: int) -> None:  # noqa: ARG002
            stuck.set()
            free.wait(20)

    engine = Engine[int](Hanging(), ctypes.c_int(0), lambda _frame: None, beat=beats.release)
    engine.start()
    assert beats.acquire(timeout=20)
    engine.cancel(1)
    assert stuck.wait(20)
    engine.ping()
    assert not beats.acquire(timeout=0.05)
    free.set()
    assert beats.acquire(timeout=20)
    engine.stop()
