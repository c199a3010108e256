"""Steps against memory pressure: up quickly, down slowly, never to and fro."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edged.policy.pressure import (
    CALM_S,
    LONGEST_CALM_S,
    RELAPSE_S,
    SETTLE_S,
    STALLED_SHARE,
    STEPS,
    Reading,
    Strain,
    after,
)

MIB = 1 << 20
RESERVE_BYTES = 128 * MIB


def _reading(short_bytes: int, stalled_share: float = 0.0) -> Reading:
    return Reading(stalled_share=stalled_share, short_bytes=short_bytes, reserve_bytes=RESERVE_BYTES)


CALM = _reading(-RESERVE_BYTES // 2)
PLENTY = _reading(-RESERVE_BYTES)
SHORT = _reading(10 * MIB)
DESPERATE = _reading(RESERVE_BYTES)
STALLS = _reading(-100 * MIB, stalled_share=STALLED_SHARE)
NEITHER = _reading(-1 * MIB)


def _run(strain: Strain, reading: Reading, begin_s: float, duration_s: float) -> Strain:
    """One look a second."""
    now_s = begin_s
    while now_s < begin_s + duration_s:
        strain = after(strain, reading, now_s)
        now_s += 1.0
    return strain


def test_calm_stays_calm() -> None:
    assert _run(Strain(), CALM, 0.0, 100.0).step == "calm"


def test_the_steps_follow_each_other_from_gentle_to_hard() -> None:
    strain, seen = Strain(), []
    for second in range(len(STEPS) + 2):
        strain = after(strain, SHORT, float(second))
        seen.append(strain.step)
    assert seen == [*STEPS[1:], "refuse", "refuse", "refuse"]


def test_a_step_has_time_to_show_what_it_frees() -> None:
    strain = after(Strain(), SHORT, 0.0)
    assert after(strain, SHORT, SETTLE_S / 2).step == strain.step


def test_when_the_reserve_is_gone_models_leave_at_once() -> None:
    assert after(Strain(), DESPERATE, 0.0).step == "unload"


def test_stalls_alone_unload_nothing() -> None:
    assert _run(Strain(), STALLS, 0.0, 100.0).step == "shrink"


def test_with_plenty_of_room_others_stall_within_limits_of_their_own() -> None:
    stalls = _reading(-2 * RESERVE_BYTES, stalled_share=1.0)
    assert _run(Strain(), stalls, 0.0, 100.0).step == "calm"
    assert _run(Strain(level=3), stalls, 0.0, 5 * CALM_S).step == "calm"


def test_one_step_is_taken_back_after_each_calm_while() -> None:
    strain = _run(Strain(), SHORT, 0.0, 10.0)
    assert strain.step == "refuse"
    assert _run(strain, CALM, 10.0, CALM_S).step == "refuse"
    assert _run(strain, CALM, 10.0, CALM_S + 1).step == "unload"
    assert _run(strain, CALM, 10.0, 5 * CALM_S + 1).step == "calm"


def test_with_plenty_of_room_steps_are_taken_back_sooner() -> None:
    strain = _run(Strain(), SHORT, 0.0, 10.0)
    assert _run(strain, PLENTY, 10.0, 5 * CALM_S / 2).step == "calm"


def test_without_room_to_spare_nothing_is_taken_back() -> None:
    strain = _run(Strain(), SHORT, 0.0, 3.0)
    assert _run(strain, NEITHER, 3.0, 100.0).step == strain.step


def test_calm_that_is_interrupted_begins_anew() -> None:
    strain = _run(Strain(), SHORT, 0.0, 3.0)
    strain = _run(strain, CALM, 3.0, CALM_S)
    strain = after(strain, NEITHER, 3.0 + CALM_S)
    assert _run(strain, CALM, 4.0 + CALM_S, CALM_S).step == strain.step


def test_who_relapses_waits_twice_as_long_each_time() -> None:
    strain, now_s, waits = Strain(), 0.0, []
    for _ in range(8):
        strain = _run(strain, SHORT, now_s, 1.0)
        waits.append(strain.wait_s)
        now_s += 1.0
        strain = _run(strain, CALM, now_s, strain.wait_s + 1)
        now_s += waits[-1] + 1
        assert strain.step == "calm"
    assert waits[:3] == [CALM_S, 2 * CALM_S, 4 * CALM_S]
    assert waits[-1] == LONGEST_CALM_S


def test_a_relapse_long_after_counts_as_none() -> None:
    strain = _run(Strain(), SHORT, 0.0, 1.0)
    strain = _run(strain, CALM, 1.0, CALM_S + 1 + RELAPSE_S)
    assert after(strain, SHORT, 2.0 + CALM_S + RELAPSE_S + 1).wait_s == CALM_S


def test_a_long_calm_makes_up_for_relapses() -> None:
    strain = Strain(wait_s=160.0)
    assert _run(strain, CALM, 0.0, LONGEST_CALM_S + 2).wait_s == CALM_S


@given(st.lists(st.sampled_from([CALM, PLENTY, SHORT, DESPERATE, STALLS, NEITHER]), max_size=300))
def test_however_it_comes_steps_are_taken_back_one_by_one_and_rarely(readings: list[Reading]) -> None:
    strain, falls = Strain(), []
    for second, reading in enumerate(readings):
        before, strain = strain, after(strain, reading, float(second))
        assert 0 <= strain.level < len(STEPS)
        if strain.level > before.level:
            assert reading.is_short or reading.stalls
        if strain.level < before.level:
            assert strain.level == before.level - 1
            assert reading.is_calm
            falls.append(second)
    assert all(later - earlier >= CALM_S / 4 for earlier, later in itertools.pairwise(falls))
