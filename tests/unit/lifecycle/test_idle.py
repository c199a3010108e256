"""Models that nobody asks for are unloaded after their keep-alive time, and no others."""

import threading
from collections.abc import Iterator

import msgspec
import pytest

from edged.config.schema import Config, Loading, Seconds
from edged.lifecycle.idle import Idle
from edged.lifecycle.pool import Pool
from edged.runner import protocol
from tests.unit.lifecycle.machine import MIB, Machine, no_thread_is_left, pool_of
from tests.unit.lifecycle.scripted import PATIENCE_S, Noted, in_background
from tests.unit.lifecycle.test_admission import Box, answer
from tests.unit.lifecycle.test_many_models import ask

SIZES = {"a": 10 * MIB, "b": 10 * MIB}
LONG = Seconds(3600)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert no_thread_is_left(before)


def loading(keep_alive_s: float) -> Loading:
    return Loading(keep_alive=Seconds(keep_alive_s))


def test_a_model_is_unloaded_after_its_time_and_loaded_by_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, noted = Machine(monkeypatch), Noted()
    pool = pool_of(SIZES, 100 * MIB, noted=noted, loading=loading(0.02), b={"keep_alive": "never"})
    ask(pool, "b")
    for _ in range(2):
        ask(pool, "a")
        assert noted.next_unload() == "idle"
    assert (pool.status("a").state, pool.status("a").unloaded_by) == ("unloaded", "idle")
    assert [noted.next_cause() for _ in range(3)] == ["demand"] * 3
    assert machine.loads == ["b", "a", "a"]
    assert (pool.status("a").keep_alive_s, pool.status("b").keep_alive_s) == (0.02, None)
    pool.close()


def test_a_model_that_was_loaded_for_nobody_has_its_time_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    noted = Noted()
    pool = pool_of(SIZES, 100 * MIB, noted=noted, loading=loading(0))
    pool.load("a")
    assert noted.next_unload() == "idle"
    pool.close()


def test_who_only_waits_for_a_load_does_not_keep_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    noted = Noted()
    pool = pool_of(SIZES, 100 * MIB, noted=noted, loading=loading(0))
    pool.ensure_ready("a", PATIENCE_S)
    assert noted.next_unload() == "idle"
    pool.close()


def test_no_thread_looks_where_nothing_is_unloaded_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    pool = pool_of(SIZES, 100 * MIB)
    ask(pool, "a")
    assert "idle" not in [thread.name for thread in threading.enumerate()]
    pool.keep("a", LONG)
    assert "idle" in [thread.name for thread in threading.enumerate()]
    pool.close()


def test_what_a_request_asks_for_holds_until_the_model_is_unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    noted = Noted()
    pool = pool_of(SIZES, 100 * MIB, noted=noted, loading=loading(LONG))
    ask(pool, "a")
    pool.keep("a", -1)
    assert pool.status("a").keep_alive_s is None
    pool.keep("a", 0)
    assert noted.next_unload() == "idle"
    assert pool.status("a").keep_alive_s == LONG
    pool.close()


def test_zero_unloads_at_once_but_not_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, SIZES, 100 * MIB)
    a = box.loaded("a")
    asking = in_background(lambda: box.embed("a"))
    request = a.next_sent(protocol.Embed)
    box.pool.keep("a", 0)
    assert box.pool.status("a").state == "ready"
    assert box.pool.status("a").leaving is None
    assert isinstance(request, protocol.Embed)
    a.say(protocol.Embeddings(id=request.id, n_embd=1, n_tokens=(1,), vectors=bytes(4)))
    asking.join(PATIENCE_S)
    a.next_sent(protocol.Shutdown)
    a.end()
    assert box.noted.next_unload() == "idle"
    box.close()


def test_a_pinned_model_is_never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, SIZES, 100 * MIB, loading=loading(0), a={"pinned": True})
    a = box.loaded("a")
    box.pool.keep("a", 0)
    asking = in_background(lambda: box.embed("a"))
    answer(a)
    asking.join(PATIENCE_S)
    assert box.pool.status("a").keep_alive_s is None
    assert box.pool.status("a").pinned
    b = box.loaded("b")
    b.next_sent(protocol.Shutdown)
    b.end()
    assert box.noted.next_unload() == "idle"
    assert box.pool.status("a").state == "ready"
    box.close()


def test_a_reload_changes_how_long_models_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    noted = Noted()
    pool = pool_of(SIZES, 100 * MIB, noted=noted)
    ask(pool, "a")
    ask(pool, "b")
    config = msgspec.structs.replace(
        pool.config,
        loading=loading(0),
        models={**pool.config.models, "b": msgspec.structs.replace(pool.config.models["b"], pinned=True)},
    )
    _apply(pool, config)
    assert noted.next_unload() == "idle"
    assert [pool.status(model).state for model in SIZES] == ["unloaded", "ready"]
    assert pool.status("b").pinned
    pool.close()


def _apply(pool: Pool, config: Config) -> None:
    pool.apply(config, None, list(SIZES)).finish(1.0)


def test_nothing_is_looked_at_after_the_end() -> None:
    idle = Idle(lambda: pytest.fail("it looked"))
    idle.close()
    idle.look()
