"""All models together: planned anew, and closed at any moment."""

import threading
from collections.abc import Callable

import msgspec
import pytest

from edged.config.schema import Bytes, Config, Memory, Model
from edged.errors import NoModelLoaded, Unavailable
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.spares import Ahead
from edged.lifecycle.start import failure
from edged.policy.types import LoadPlan
from edged.runner import protocol
from tests.plans import fake_plan
from tests.unit.lifecycle.scripted import PATIENCE_S, READY, Noted, Runners

CONFIG = Config(models={"m": Model(file="m.gguf")})


def _planned(*, found: bool) -> Planned:
    return Planned(
        snapshot=HardwareSnapshot(memory=MemoryFacts(total_bytes=1 << 30), cpu=CpuFacts(usable_cores=2)),
        plans=(fake_plan(path="fake:generate"),) if found else (),
        problems={} if found else {"m": "m.gguf is missing"},
    )


def _pool(planner: Callable[[Ahead | None], Planned]) -> Pool:
    return Pool(CONFIG, planner, Noted())


def test_a_model_whose_file_came_later_is_planned_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = Runners(monkeypatch)
    found = False
    pool = _pool(lambda _ahead: _planned(found=found))
    assert pool.problems == {"m": "m.gguf is missing"}
    with pytest.raises(Unavailable, match="missing"):
        pool.load("m")
    found = True
    pool.load("m")
    assert pool.problems == {}
    process = runners.next()
    process.say(READY)
    pool.ensure_ready("m", PATIENCE_S)
    process.end()
    pool.close()


def test_a_model_whose_file_came_later_is_planned_beside_the_others_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = Runners(monkeypatch)
    asked: list[tuple[Config, MemoryFacts]] = []

    def replan(config: Config, memory: MemoryFacts) -> Planned:
        asked.append((config, memory))
        return _two()

    pool = Pool(TWO, lambda _ahead: _two(n="n.gguf is missing"), Noted(), replan)
    before = pool.plans
    pool.load("n")
    process = runners.next()
    process.say(READY)
    pool.ensure_ready("n", PATIENCE_S)
    ((config, memory),) = asked
    assert (config.models["m"].strategy, config.models["m"].n_ctx) == ("stream", 64)
    assert config.models["n"] == TWO.models["n"]
    assert memory.available_bytes
    assert pool.plans[0] is before[0]
    process.end()
    pool.close()


def test_a_model_that_is_being_planned_while_edged_stops_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = Runners(monkeypatch)
    planning, go_on = threading.Event(), threading.Event()

    def slow() -> Planned:
        planning.set()
        assert go_on.wait(PATIENCE_S)
        return _planned(found=True)

    planners = iter([lambda: _planned(found=False), slow])
    pool = _pool(lambda _ahead: next(planners)())
    refused: list[Unavailable] = []

    def load() -> None:
        try:
            pool.load("m")
        except Unavailable as error:
            refused.append(error)

    loading = threading.Thread(target=load)
    loading.start()
    assert planning.wait(PATIENCE_S)
    pool.close()
    go_on.set()
    loading.join(PATIENCE_S)
    assert "shutting down" in str(refused[0])
    assert runners.none_left()


def _sized(model: str, size_bytes: int, *, at_start: bool) -> LoadPlan:
    plan = fake_plan(model, "fake:generate", at_start=at_start)
    predicted = msgspec.structs.replace(plan.predicted, anon_bytes=size_bytes)
    return msgspec.structs.replace(plan, predicted=predicted)


def test_what_does_not_fit_beside_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    runners = Runners(monkeypatch)
    config = Config(
        memory=Memory(budget=Bytes(150 << 20)),
        models={"small": Model(file="s.gguf"), "large": Model(file="l.gguf", preload=False)},
    )
    plans = (_sized("small", 60 << 20, at_start=True), _sized("large", 100 << 20, at_start=False))
    planned = msgspec.structs.replace(_planned(found=True), plans=plans)
    noted = Noted()
    pool = Pool(config, lambda _ahead: planned, noted)
    pool.start()
    small = runners.next()
    small.say(READY)
    pool.ensure_ready("small", PATIENCE_S)
    pool.load("large")
    small.next_sent(protocol.Shutdown)
    assert runners.none_left()
    assert pool.status("large").state == "loading"
    small.end()
    assert noted.next_unload() == "evicted"
    large = runners.next()
    large.say(READY)
    pool.ensure_ready("large", PATIENCE_S)
    assert pool.status("small").unloaded_by == "evicted"
    pool.load("small")
    large.next_sent(protocol.Shutdown)
    large.end()
    small = runners.next()
    small.say(READY)
    pool.ensure_ready("small", PATIENCE_S)
    assert [noted.next_cause() for _ in range(3)] == ["boot", "demand", "evicted"]
    assert pool.status("small").unloaded_by is None
    small.end()
    pool.close()


def test_whoever_asks_for_a_model_stops_what_is_measured_in_idle_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = Runners(monkeypatch)
    planned = msgspec.structs.replace(_planned(found=True), repack_gains_wanted={"key": "Q4_0"})
    pool = _pool(lambda _ahead: planned)
    asked: list[bool] = []
    work = pool.repack_work()
    pool.when_wanted = lambda: asked.append(work.is_idle())
    assert (work.weight_types, work.n_threads) == ({"key": "Q4_0"}, 1)
    assert work.is_idle()
    pool.load("m")
    assert not work.is_idle()
    process = runners.next()
    process.say(READY)
    pool.ensure_ready("m", PATIENCE_S)
    assert asked == [True, False]
    assert pool.status("m").state == "ready"
    assert work.is_idle()
    process.end()
    pool.close()


def _two(**problems: str) -> Planned:
    """Models `m` and `n`, those without a problem with a plan."""
    there = tuple(fake_plan(name, "fake:generate") for name in ("m", "n") if name not in problems)
    return msgspec.structs.replace(_planned(found=True), plans=there, problems=problems)


TWO = Config(models={"m": Model(file="m.gguf"), "n": Model(file="n.gguf")})


def test_a_start_with_one_model_missing_is_over_when_the_other_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = Runners(monkeypatch)
    started = threading.Event()
    pool = Pool(TWO, lambda _ahead: _two(n="n.gguf is missing"), Noted())
    pool.start()
    pool.when_started(started.set)
    assert pool.is_starting
    process = runners.next()
    process.say(READY)
    assert started.wait(PATIENCE_S)
    assert not pool.is_starting
    assert pool.is_supervised
    assert [status.given_up for status in pool.statuses()] == [None, "file"]
    process.end()
    pool.close()


def test_a_start_of_which_nothing_came_is_never_over(monkeypatch: pytest.MonkeyPatch) -> None:
    runners = Runners(monkeypatch)
    noted, started = Noted(), threading.Event()
    pool = Pool(TWO, lambda _ahead: _two(n="n.gguf is missing"), noted)
    pool.start()
    pool.when_started(started.set)
    process = runners.next()
    process.say(protocol.LoadFailed("m.gguf is damaged"))
    process.end(1)
    assert "damaged" in noted.next_failure()
    assert pool.is_starting
    assert isinstance(failure(pool.statuses()), NoModelLoaded)
    pool.close()
    assert not started.is_set()


def test_a_refused_model_may_fit_another_time() -> None:
    refused = msgspec.structs.replace(fake_plan(), strategy="refused")
    planned = msgspec.structs.replace(_planned(found=True), plans=(refused,))
    pool = _pool(lambda _ahead: planned)
    assert pool.status("m").given_up == "memory"
    pool.close()
