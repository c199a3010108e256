"""What the simulation of evictions counts, on short traces."""

import pytest
from click.testing import CliRunner

from tests.bench import eviction
from tests.bench.box import Box, Outcome, Policy, Request, run
from tests.bench.evictors import RIVALS, Evictor, edged, foresight, lru
from tests.bench.week import MODELS, TRACES, Session, Turn, trace

SLOW = eviction.hardware_of("1 GB", 20)


def one_of_each(model: str, at_s: float) -> Session:
    """Somebody asks once."""
    return Session(at_s, (Turn(model, 1.0),))


@pytest.mark.parametrize("name", sorted(TRACES))
def test_a_trace_is_the_same_for_the_same_seed_and_uses_every_model(name: str) -> None:
    found = trace(name, 7, 1)
    assert found == trace(name, 7, 1)
    assert found != trace(name, 7, 2)
    assert [session.at_s for session in found] == sorted(session.at_s for session in found)
    used = {turn.model for session in found for turn in session.turns}
    assert used <= set(MODELS)
    assert len(used) >= 8
    assert sum(len(session.turns) for session in found) > 5000


@pytest.mark.parametrize("evictor", [edged, *RIVALS, foresight])
@pytest.mark.parametrize("name", sorted(TRACES))
def test_every_policy_serves_every_request_in_the_memory_that_there_is(name: str, evictor: Evictor) -> None:
    """The box itself checks that nothing is loaded into memory that is not there."""
    sessions = trace(name, 1, 3)
    found = run(evictor(sessions), SLOW, sessions)
    assert found.n_requests == sum(len(session.turns) for session in sessions)
    assert 0 < found.n_hits < found.n_requests
    assert found.waited_s > 0


def test_a_load_waits_for_the_storage_and_later_requests_for_the_rest_of_it() -> None:
    sessions = [one_of_each("chat", 0.0), one_of_each("chat", 3.5), one_of_each("chat", 60.0)]
    found = run(lru(sessions), SLOW, sessions)
    assert found.waited_s == pytest.approx(13.5 + 10.0)
    assert (found.n_requests, found.n_hits, found.n_loads) == (3, 1, 1)
    assert found.read_bytes == 270e6


def test_who_comes_back_before_its_pages_are_gone_reads_nothing() -> None:
    box = Box(SLOW)
    box.load("intent", 0.0)
    box.unload("intent")
    box.load("intent", 100.0)
    assert box.outcome.n_loads == 2
    assert box.outcome.read_bytes == 98e6


def test_pages_give_way_to_a_model_that_needs_the_memory() -> None:
    box = Box(SLOW)
    for model in ("coder", "chat"):
        box.load(model, 0.0)
        box.unload(model)
        box.shrink_cache()
    assert sum(box.cached.values()) <= box.cache_bytes
    box.load("chat-small", 0.0)
    box.shrink_cache()
    assert sum(box.cached.values()) <= box.cache_bytes
    assert box.cached["coder"] < 398e6, "the pages that were cached longest ago went first"
    assert box.cached["chat"] == 270e6


def test_a_load_waits_until_a_busy_victim_is_done() -> None:
    def leave_all(box: Box, _model: str, _now_s: float) -> list[str]:
        return list(box.loaded)

    sessions = [Session(0.0, (Turn("coder", 50.0),)), one_of_each("chat", 30.0)]
    found = run(Policy(name="all", leave=leave_all), SLOW, sessions)
    first_s, second_s = 398 / 20, 270 / 20
    assert found.waited_s == pytest.approx(first_s + (first_s + 50.0 - 30.0) + second_s)


def test_an_answer_that_comes_late_puts_off_the_next_question() -> None:
    asked_s = []

    def asked(_box: Box, request: Request) -> None:
        asked_s.append(request.at_s)

    talk = Session(0.0, (Turn("chat", 2.0), Turn("chat", 2.0, 10.0)))
    run(Policy(name="none", leave=lambda _box, _model, _now_s: (), asked=asked), SLOW, [talk])
    assert asked_s == pytest.approx([0.0, 13.5 + 2.0 + 10.0])


def test_edged_is_judged_by_the_best_of_the_others() -> None:
    cell = eviction.Cell(
        trace="office",
        hardware="1 GB",
        bytes_per_s=20e6,
        outcomes={
            "edged": Outcome(n_requests=100, n_hits=90, waited_s=102.0),
            "LRU": Outcome(n_requests=100, n_hits=80, waited_s=100.0),
            "LFU": Outcome(n_requests=100, n_hits=99, waited_s=200.0),
            "foresight": Outcome(n_requests=100, n_hits=100, waited_s=1.0),
        },
    )
    assert cell.waited_ratio() == pytest.approx(1.02)
    assert cell.hit_ratio() == pytest.approx(1.1)
    ((*_, verdict),) = eviction.verdicts([cell])
    assert verdict == "NO"


def test_a_quick_run_prints_every_policy_on_every_machine() -> None:
    printed = CliRunner().invoke(eviction.main, ["--quick"], catch_exceptions=False).output
    for name in (*TRACES, "1 GB", "4 GB", "edged", "LRU", "LFU", "keep-alive", "count", "foresight"):
        assert name in printed
