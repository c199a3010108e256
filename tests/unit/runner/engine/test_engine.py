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
