"""Whom to unload."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edged.policy.evict import Candidate, victims

MIB = 1 << 20


def candidate(
    model: str, frees_bytes: int, reload_s: float, use_probability: float, *, busy: bool = False
) -> Candidate:
    """One candidate."""
    return Candidate(
        model=model, frees_bytes=frees_bytes, reload_s=reload_s, use_probability=use_probability, busy=busy
    )


MINILM = candidate("minilm", 60 * MIB, 0.7, 0.95)
LLM = candidate("llm", 300 * MIB, 7.0, 0.1)

_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        model=st.text("abcdefgh", min_size=1, max_size=4),
        frees_bytes=st.integers(0, 1000),
        reload_s=st.floats(0, 100),
        use_probability=st.floats(0, 1),
        busy=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda each: each.model,
)
_WITH_PAGES = st.lists(
    st.builds(
        Candidate,
        model=st.text("abcdefgh", min_size=1, max_size=4),
        frees_bytes=st.integers(0, 1000),
        reload_s=st.floats(0, 100),
        use_probability=st.floats(0, 1),
        busy=st.booleans(),
        pages_bytes=st.integers(0, 1000),
        warm_reload_s=st.floats(0, 10),
    ),
    max_size=8,
    unique_by=lambda each: each.model,
)
_LACKING = st.integers(-10, 5000)


def freed(candidates: Sequence[Candidate], models: Sequence[str]) -> int:
    """The bytes that these models free."""
    return sum(each.frees_bytes for each in candidates if each.model in models)


def test_minilm_that_is_asked_all_the_time_outlives_an_llm() -> None:
    assert victims([MINILM, LLM], 20 * MIB) == ("llm",)
    assert victims([LLM, MINILM], 200 * MIB) == ("llm",)
    assert victims([LLM, MINILM], 310 * MIB) == ("llm", "minilm")


def test_of_models_used_alike_the_one_that_comes_back_sooner_goes() -> None:
    from_ssd, from_sd = candidate("a", MIB, 0.5, 0.3), candidate("b", MIB, 9.0, 0.3)
    assert victims([from_sd, from_ssd], MIB) == ("a",)


def test_of_models_that_cost_alike_the_one_that_is_less_wanted_goes() -> None:
    idle, asked = candidate("b", MIB, 2.0, 0.1), candidate("a", MIB, 2.0, 0.9)
    assert victims([asked, idle], MIB) == ("b",)


def test_a_small_idle_model_is_kept_where_the_large_one_has_to_go_anyway() -> None:
    small, large = candidate("small", 10 * MIB, 0.3, 0.0), candidate("large", 300 * MIB, 7.0, 0.1)
    assert victims([small, large], 200 * MIB) == ("large",)
    assert victims([small, large], 5 * MIB) == ("small",)


def test_who_is_busy_is_left_in_peace_where_the_idle_ones_are_enough() -> None:
    busy = candidate("busy", 300 * MIB, 1.0, 0.1, busy=True)
    idle = candidate("idle", 300 * MIB, 7.0, 1.0)
    assert victims([busy, idle], 100 * MIB) == ("idle",)
    assert victims([busy, idle], 400 * MIB) == ("idle", "busy")


def test_nobody_leaves_where_nothing_is_lacking_or_where_it_would_not_help() -> None:
    assert victims([MINILM, LLM], 0) == ()
    assert victims([MINILM, LLM], -5) == ()
    assert victims([MINILM, LLM], 361 * MIB) is None
    assert victims([], 1) is None
    assert victims([candidate("nothing", 0, 0.0, 0.0)], 1) is None


def chat(name: str, warm_reload_s: float = 0.9) -> Candidate:
    """A chat that waits for its next message; it comes from an SD card in a minute and a half."""
    return Candidate(
        model=name,
        frees_bytes=2400 * MIB,
        reload_s=100.0,
        use_probability=0.7,
        pages_bytes=2000 * MIB,
        warm_reload_s=warm_reload_s,
    )


def test_who_is_not_wanted_leaves_for_the_pages_of_a_chat_that_will_go_on() -> None:
    """Both chats do not fit; with the forgotten model's room, most of the file waits in the page cache."""
    forgotten, wanted = candidate("a", 1000 * MIB, 40.0, 0.01), candidate("b", 1000 * MIB, 40.0, 0.6)
    assert set(victims([chat("chat"), forgotten], 1300 * MIB) or ()) == {"chat", "a"}
    assert victims([chat("chat"), wanted], 1300 * MIB) == ("chat",)


def test_pages_are_no_reason_where_they_would_save_nothing() -> None:
    forgotten = candidate("a", 1000 * MIB, 40.0, 0.01)
    assert victims([chat("chat", warm_reload_s=100.0), forgotten], 1300 * MIB) == ("chat",)
    assert set(victims([chat("chat"), forgotten], 100 * MIB) or ()) == {"a"}


@given(_WITH_PAGES, _LACKING)
def test_victims_free_enough_or_there_is_no_way(candidates: list[Candidate], lacking_bytes: int) -> None:
    found = victims(candidates, lacking_bytes)
    if found is None:
        assert sum(each.frees_bytes for each in candidates) < lacking_bytes
    else:
        assert len(set(found)) == len(found)
        assert freed(candidates, found) >= lacking_bytes


@given(_CANDIDATES, _LACKING)
def test_no_victim_could_have_been_left_out(candidates: list[Candidate], lacking_bytes: int) -> None:
    found = victims(candidates, lacking_bytes) or ()
    for left_out in found:
        assert freed(candidates, [each for each in found if each != left_out]) < lacking_bytes


@given(_WITH_PAGES, _LACKING, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    candidates: list[Candidate], lacking_bytes: int, shuffle: random.Random
) -> None:
    shuffled = list(candidates)
    shuffle.shuffle(shuffled)
    assert victims(shuffled, lacking_bytes) == victims(candidates, lacking_bytes)
