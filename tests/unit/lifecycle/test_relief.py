"""What models give up when memory is short, and get back."""

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from edged.config.schema import Bytes, Memory
from edged.errors import Unavailable
from edged.lifecycle import relief
from edged.lifecycle.pool import Pool
from edged.lifecycle.relief import Relief
from edged.runner import protocol
from tests.unit.lifecycle.machine import MIB, Machine, no_thread_is_left, pool_of
from tests.unit.lifecycle.scripted import PATIENCE_S

SIZES = {"pinned": 20 * MIB, "large": 60 * MIB, "small": 10 * MIB}


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Three models that are loaded, and have been idle for long enough."""
    before = threading.enumerate()
    monkeypatch.setattr(relief, "_IDLE_S", 0.0)
    Machine(monkeypatch)
    made = pool_of(SIZES, 100 * MIB, pinned={"pinned": True})
    for model in SIZES:
        made.ensure_ready(model, PATIENCE_S)
    yield made
    made.close()
    assert no_thread_is_left(before)


def _leave_only(pool: Pool, budget_bytes: int) -> None:
    """From now on models may take so much."""
    pool.admission.plan_for(Memory(budget=Bytes(budget_bytes)), budget_bytes)


def _wait_until_unloaded(pool: Pool, model: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while pool.status(model).state != "unloaded":
        assert time.monotonic() < deadline_s, pool.status(model)
        pause.wait(0.005)


def test_short_is_what_models_hold_beyond_what_they_may(pool: Pool) -> None:
    household = Relief(pool)
    assert household.short_bytes() == -10 * MIB
    _leave_only(pool, 50 * MIB)
    assert household.short_bytes() == 40 * MIB


def test_idle_models_cool_and_then_shrink_but_not_the_pinned_one(pool: Pool) -> None:
    household = Relief(pool)
    for shrink, cooled in ((False, "pages"), (True, "context"), (False, "context")):
        household.cool(shrink=shrink)
        assert {model: pool.status(model).cooled for model in SIZES} == {
            "pinned": None, "large": cooled, "small": cooled,
        }  # fmt: skip


def test_who_was_asked_a_moment_ago_is_not_cooled(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relief, "_IDLE_S", PATIENCE_S)
    household = Relief(pool)
    household.cool(shrink=False)
    assert not any(pool.status(model).cooled for model in SIZES)


def test_those_leave_who_free_enough_and_never_the_pinned_one(pool: Pool) -> None:
    household = Relief(pool)
    _leave_only(pool, 50 * MIB)
    household.unload(household.short_bytes())
    household.unload(household.short_bytes())  # another look, before the first has shown
    _wait_until_unloaded(pool, "large")
    assert pool.status("large").unloaded_by == "pressure"
    assert pool.status("small").state == pool.status("pinned").state == "ready"
    household.unload(1000 * MIB)
    _wait_until_unloaded(pool, "small")
    assert pool.status("pinned").state == "ready"


def test_what_is_to_be_there_comes_back(pool: Pool) -> None:
    household = Relief(pool)
    large = pool.handles["large"]
    large.supervise(large._supervision, at_start=True)
    household.unload(70 * MIB)
    for model in ("large", "small"):
        _wait_until_unloaded(pool, model)
    household.recover()
    large.ensure_ready(PATIENCE_S)
    assert pool.status("small").state == "unloaded", "it is loaded when somebody asks for it"


def test_while_loads_are_refused_who_asks_hears_why(pool: Pool) -> None:
    household = Relief(pool)
    household.unload(60 * MIB)
    _wait_until_unloaded(pool, "large")
    household.refuse_loads("memory is short (models hold 40 MiB more than there is for them)")
    with pytest.raises(Unavailable, match="memory is short"):
        pool.ensure_ready("large", PATIENCE_S)
    household.refuse_loads(None)
    pool.ensure_ready("large", PATIENCE_S)


def test_only_a_paged_model_that_is_in_use_stalls_by_design(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    household = Relief(pool)
    large = pool.handles["large"]
    large._board.go_by(msgspec.structs.replace(large.plan, paged=True))
    assert not household.stalls_by_design(), "it is idle"
    monkeypatch.setattr(relief, "_IDLE_S", PATIENCE_S)
    large.embed(protocol.Embed(id=0, texts=("a",)), time.monotonic() + PATIENCE_S)
    assert household.stalls_by_design()
    pool.unload("large")
    assert not household.stalls_by_design()
