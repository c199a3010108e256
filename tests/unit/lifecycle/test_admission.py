"""Who may load, who waits, and who leaves."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edged.config.schema import Bytes, Loading, Memory, Seconds
from edged.errors import Replaced, Unavailable
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle import gauge
from edged.lifecycle.admission import Admission
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.runs import Means
from edged.lifecycle.supervision import Supervision
from edged.policy.types import LoadPlan
from edged.runner import protocol
from tests.unit.lifecycle.machine import MIB, no_thread_is_left, pool_of, sized_plan
from tests.unit.lifecycle.scripted import (
    PATIENCE_S,
    READY,
    Noted,
    Runners,
    Scripted,
    eventually,
    in_background,
)

SUPERVISION = Supervision(
    load_timeout_s=PATIENCE_S,
    backoff_s=0.01,
    backoff_max_s=0.01,
    linger_s=PATIENCE_S,
    max_queue_requests=4,
    max_queue_tokens=100,
    lease_fd=None,
)
TWO = {"a": 60 * MIB, "b": 70 * MIB}
ROOM_FOR_ONE = 100 * MIB


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert no_thread_is_left(before)


class Box:
    """A pool with scripted runners, and requests in the background."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], budget_bytes: int, **settings: Any
    ) -> None:
        self.runners = Runners(monkeypatch)
        self.noted = Noted()
        self.pool = pool_of(sizes, budget_bytes, noted=self.noted, **settings)
        self._processes: list[Scripted] = []

    def ready(self) -> Scripted:
        """The next runner, which loads at once."""
        process = self.runners.next()
        process.say(READY)
        self._processes.append(process)
        return process

    def loaded(self, model: str) -> Scripted:
        """A loaded model's runner."""
        self.pool.load(model)
        process = self.ready()
        self.pool.ensure_ready(model, PATIENCE_S)
        return process

    def embed(self, model: str) -> None:
        """One request; raises as its client would hear it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with self.pool.asking(model):
                handle = self.pool.ensure_ready(model, deadline - time.monotonic())
                try:
                    handle.embed(protocol.Embed(id=0, texts=("x",)), deadline)
                    return
                except Replaced:
                    continue

    def close(self) -> None:
        """End everything."""
        for process in self._processes:
            process.end()
        self.pool.close()


def answer(process: Scripted) -> None:
    """Answer the next request."""
    request = process.next_sent(protocol.Embed)
    assert isinstance(request, protocol.Embed)
    process.say(protocol.Embeddings(id=request.id, n_embd=1, n_tokens=(1,), vectors=bytes(4)))


def test_a_busy_model_answers_first_and_later_requests_load_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE)
    a = box.loaded("a")
    first = in_background(lambda: box.embed("a"))
    request = a.next_sent(protocol.Embed)
    box.pool.load("b")
    assert eventually(lambda: box.pool.status("a").leaving == "evicted")
    later = in_background(lambda: box.embed("a"))
    assert box.pool.status("a").state == "ready"
    assert box.runners.none_left()
    assert isinstance(request, protocol.Embed)
    a.say(protocol.Embeddings(id=request.id, n_embd=1, n_tokens=(1,), vectors=bytes(4)))
    first.join(PATIENCE_S)
    a.next_sent(protocol.Shutdown)
    a.end()
    b = box.ready()
    b.next_sent(protocol.Shutdown)
    b.end()
    answer(box.ready())
    later.join(PATIENCE_S)
    assert [box.noted.next_cause() for _ in range(3)] == ["demand", "demand", "evicted"]
    box.close()


def test_a_model_serves_those_for_whom_it_was_loaded_before_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE)
    with box.pool.asking("a"):
        box.pool.load("a")
        a = box.ready()
        handle = box.pool.ensure_ready("a", PATIENCE_S)
        box.pool.load("b")
        assert eventually(lambda: box.pool.status("a").leaving == "evicted")
        generation = handle.generate(protocol.Generate(id=0, text="x"))
        with pytest.raises(Replaced):
            handle.generate(protocol.Generate(id=0, text="one too many"))
    asked = a.next_sent(protocol.Generate)
    assert isinstance(asked, protocol.Generate)
    a.say(protocol.Step((protocol.TokenEvent(asked.id, "x", 1, "stop"),)))
    assert generation.poll(PATIENCE_S) is not None
    a.next_sent(protocol.Shutdown)
    a.end()
    box.ready()
    box.pool.ensure_ready("b", PATIENCE_S)
    box.close()


def test_an_eviction_says_what_it_gives_and_costs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE)
    a = box.loaded("a")
    with caplog.at_level("INFO"):
        box.pool.load("b")
        a.next_sent(protocol.Shutdown)
    a.end()
    box.ready()
    box.pool.ensure_ready("b", PATIENCE_S)
    said = "a: makes room for b: it frees 60 MiB, takes up to 1 s to come back, and is wanted within a minute"
    assert said in caplog.text
    box.close()


def test_who_asked_but_went_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE)
    a = box.loaded("a")
    with box.pool.asking("a"):
        box.pool.load("b")
        assert eventually(lambda: box.pool.status("a").leaving == "evicted")
        assert a.sent.qsize() == 1  # Start
    a.next_sent(protocol.Shutdown)
    a.end()
    box.ready()
    box.pool.ensure_ready("b", PATIENCE_S)
    box.close()


def test_a_pinned_model_never_leaves_and_what_does_not_fit_beside_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE, a={"pinned": True})
    box.loaded("a")
    for _ in range(2):
        with pytest.raises(Unavailable) as refused:
            box.pool.ensure_ready("b", PATIENCE_S)
        assert (
            "needs 70 MiB, and there are, beside a (60 MiB), which is pinned, 40 MiB of the 100 MiB"
            in str(refused.value)
        )
        assert "set models.a.pinned to false" in str(refused.value)
    assert (box.pool.status("b").state, box.pool.status("b").given_up) == ("failed", "memory")
    assert box.pool.status("b").restarts == 0
    assert box.pool.status("a").state == "ready"
    box.close()


def test_once_there_is_room_a_refused_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE, a={"pinned": True})
    a = box.loaded("a")
    with pytest.raises(Unavailable):
        box.pool.ensure_ready("b", PATIENCE_S)
    a.end()
    box.pool.unload("a")
    asking = in_background(lambda: box.pool.ensure_ready("b", PATIENCE_S))
    box.ready()
    asking.join(PATIENCE_S)
    assert box.pool.status("b").given_up is None
    box.close()


def test_a_load_that_nobody_waits_for_any_more_lets_its_victim_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE, loading=Loading(request_wait=Seconds(0)))
    a = box.loaded("a")
    busy = in_background(lambda: box.embed("a"))
    request = a.next_sent(protocol.Embed)
    with pytest.raises(Unavailable, match="waits for room in memory: it needs 70 MiB, and 40 MiB are free"):
        box.pool.ensure_ready("b", 0.2)
    assert "others leave for it when a request asks for it" in box.noted.next_failure()
    assert eventually(lambda: box.pool.status("a").leaving is None)
    other = in_background(lambda: box.embed("a"))
    answer(a)
    other.join(PATIENCE_S)
    assert isinstance(request, protocol.Embed)
    a.say(protocol.Embeddings(id=request.id, n_embd=1, n_tokens=(1,), vectors=bytes(4)))
    busy.join(PATIENCE_S)
    assert box.pool.status("b").state == "failed"
    box.close()


def test_what_is_loaded_at_start_drives_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE)
    box.loaded("a")
    box.pool.load_all(["b"], "boot")
    assert "others leave for it when a request asks for it" in box.noted.next_failure()
    assert box.pool.status("a").state == "ready"
    box.close()


def test_loads_are_admitted_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, {"a": 90 * MIB, "b": 80 * MIB, "c": 20 * MIB}, ROOM_FOR_ONE)
    a = box.loaded("a")
    busy = in_background(lambda: box.embed("a"))
    request = a.next_sent(protocol.Embed)
    box.pool.load("b")
    assert eventually(lambda: box.pool.status("a").leaving == "evicted")
    box.pool.load("c")  # would fit as soon as a has left, but b waits for that room: both fit
    assert box.runners.none_left()
    assert isinstance(request, protocol.Embed)
    a.say(protocol.Embeddings(id=request.id, n_embd=1, n_tokens=(1,), vectors=bytes(4)))
    busy.join(PATIENCE_S)
    a.next_sent(protocol.Shutdown)
    a.end()
    box.ready()
    box.ready()
    for model in ("b", "c"):
        box.pool.ensure_ready(model, PATIENCE_S)
    box.close()


def test_under_pressure_models_leave_and_none_but_pinned_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, {"a": 10 * MIB, "b": 20 * MIB, "c": 30 * MIB}, ROOM_FOR_ONE, c={"pinned": True})
    a, b, c = box.loaded("a"), box.loaded("b"), box.loaded("c")
    assert box.pool.admission.relieve(25 * MIB, {}) == ("b", "a")
    for process in (a, b):
        process.next_sent(protocol.Shutdown)
        process.end()
        assert box.noted.next_unload() == "pressure"
    assert box.pool.admission.account.taken_bytes == 30 * MIB
    box.pool.admission.refuse_loads("other programs need the memory")
    with pytest.raises(Unavailable, match="other programs need the memory"):
        box.pool.ensure_ready("a", PATIENCE_S)
    c.end(1)
    box.ready()
    box.pool.ensure_ready("c", PATIENCE_S)
    box.pool.admission.refuse_loads(None)
    asking = in_background(lambda: box.pool.ensure_ready("a", PATIENCE_S))
    box.ready()
    asking.join(PATIENCE_S)
    assert box.pool.status("a").cause == "evicted"
    box.close()


def test_where_less_is_there_than_was_planned_for_a_smaller_plan_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauge, "_SETTLES_S", 0.0)
    runners, noted = Runners(monkeypatch), Noted()
    available = [100 * MIB]
    admission = Admission(Memory(reserve=Bytes(0)), facts=lambda: MemoryFacts(available_bytes=available[0]))
    full, small = sized_plan("m", 80 * MIB), sized_plan("m", 50 * MIB)
    asked: list[int] = []

    def fitting(_plan: LoadPlan, room_bytes: int) -> LoadPlan | None:
        asked.append(room_bytes)
        return small if room_bytes >= 50 * MIB else None

    means = Means(admission, lambda _plan: None, fitting=fitting)
    handle = RunnerHandle(full, SUPERVISION, noted, means)
    for n_bytes, plan in ((60 * MIB, small), (90 * MIB, full)):
        available[0] = n_bytes
        handle.load("demand")
        process = runners.next()
        start = process.next_sent(protocol.Start)
        process.say(READY)
        handle.ensure_ready(PATIENCE_S)
        assert isinstance(start, protocol.Start)
        assert start.path == plan.path
        process.end()
        handle.unload()
    assert asked == [60 * MIB]
    available[0] = 40 * MIB
    with pytest.raises(Unavailable, match="needs 80 MiB, and there are 40 MiB of the 40 MiB"):
        handle.ensure_ready(PATIENCE_S)
    assert handle.plan == full
    handle.close()


def test_a_pinned_model_that_crashed_comes_back_whoever_has_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Loading(restart_backoff=Seconds(3600), restart_backoff_max=Seconds(3600))
    box = Box(monkeypatch, TWO, ROOM_FOR_ONE, loading=slow, a={"pinned": True})
    box.loaded("a").end(1)
    box.noted.next_failure()
    b = box.loaded("b")
    box.pool.load_all(["a"], "crash")
    b.next_sent(protocol.Shutdown)
    b.end()
    box.ready()
    assert eventually(lambda: box.pool.status("a").state == "ready")
    box.close()


def test_a_spare_runners_memory_is_room_for_models_and_shown() -> None:
    held = {7: 20 * MIB}

    def left() -> MemoryFacts:  # of 100 MiB beyond the reserve
        return MemoryFacts(available_bytes=228 * MIB - sum(held.values()))

    admission = Admission(Memory(), facts=left, held=lambda pids: sum(held[pid] for pid in pids))
    assert admission.room_bytes() == 80 * MIB
    admission.spare_pid = lambda: 7
    assert admission.room_bytes() == 100 * MIB
    assert admission.look().by_kind()["spare"] == 20 * MIB
