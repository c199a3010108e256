"""How likely a model is asked for soon."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.policy.demand import Demand, after, use_probability

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86400.0


def asked(times_s: Iterable[float]) -> Demand:
    """The demand of a model that was asked for at these times."""
    demand = Demand()
    for time_s in times_s:
        demand = after(demand, time_s)
    return demand


def chats(n_days: int) -> list[float]:
    """Twenty messages, half a minute apart, every evening at eight."""
    return [day * DAY_S + 20 * HOUR_S + 30 * number for day in range(n_days) for number in range(20)]


def test_uses_are_counted_and_the_last_is_known() -> None:
    demand = asked([5.0, 7.0, 7.5])
    assert (demand.n_uses, demand.last_s) == (3, 7.5)
    assert sum(demand.pauses) == pytest.approx(2.0, abs=1e-3)


def test_what_is_asked_every_minute_will_be_asked_within_the_next() -> None:
    demand = asked(MINUTE_S * number for number in range(100))
    assert use_probability(demand, 99.5 * MINUTE_S, MINUTE_S) > 0.95


def test_a_chat_that_fell_silent_is_over() -> None:
    times_s = chats(5)
    demand = asked(times_s)
    assert use_probability(demand, times_s[-1] + 10, MINUTE_S) > 0.9
    assert use_probability(demand, times_s[-1] + 20 * MINUTE_S, MINUTE_S) < 0.05


def test_what_happens_every_evening_is_expected_in_the_evening() -> None:
    times_s = chats(5)
    demand = asked(times_s)
    at_night, before = times_s[-1] + 6 * HOUR_S, times_s[-1] + 23.5 * HOUR_S
    assert use_probability(demand, before, HOUR_S) > 5 * use_probability(demand, at_night, HOUR_S)


def test_without_a_history_the_longer_nobody_asked_the_longer_nobody_will() -> None:
    demand = asked([0.0])
    soon = [use_probability(demand, age_s, 10 * MINUTE_S) for age_s in (0.0, MINUTE_S, HOUR_S, DAY_S)]
    assert soon == sorted(soon, reverse=True)
    assert soon[0] > 2 * soon[2]


def test_a_model_that_nobody_ever_asked_for_is_neither_sure_nor_impossible() -> None:
    assert 0.05 < use_probability(Demand(), 1000.0, 10 * MINUTE_S) < 0.9


def test_old_habits_are_forgotten() -> None:
    busy_weeks = [MINUTE_S * number for number in range(2000)]
    quiet_weeks = [DAY_S * (10 + number) for number in range(60)]
    demand = asked([*busy_weeks, *quiet_weeks])
    assert use_probability(demand, quiet_weeks[-1] + 1, 2 * MINUTE_S) < 0.5


_TIMES = st.lists(st.floats(0, 1e7), max_size=30)


@given(_TIMES, st.floats(0, 1e8), st.floats(0, 1e6))
def test_it_is_a_probability_whatever_the_clock_does(
    times_s: list[float], now_s: float, horizon_s: float
) -> None:
    assert 0.0 <= use_probability(asked(times_s), now_s, horizon_s) <= 1.0


@given(_TIMES.filter(bool), st.floats(0, 1e7), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_time_makes_a_request_no_less_likely(
    times_s: list[float], age_s: float, one_s: float, other_s: float
) -> None:
    demand = asked(sorted(times_s))
    now_s = max(times_s) + age_s
    shorter_s, longer_s = sorted((one_s, other_s))
    less, more = (use_probability(demand, now_s, each_s) for each_s in (shorter_s, longer_s))
    assert less <= more + 1e-9
