"""How likely a model is asked for soon, learnt from when it was asked for until now.

What is kept is how long the pauses between its requests were, as a histogram over half octaves of time. The
probability of a request within the next seconds is then what survival analysis calls the hazard: of the
pauses that lasted as long as the present one, the share that ended within that time (the life-table form of
Kaplan and Meier's estimate). That knows recency (bursts: after ten minutes of silence a chat is over),
frequency, and rhythm (every minute, every night) without being told which of them matters.
"""

import math

import msgspec

# What counts as soon when somebody has to leave: long enough for the next message of a chat, short enough to
# tell models apart that are asked in turn, all of which are sure to be asked within ten minutes.
SOON_S = 60.0
_BINS_PER_OCTAVE = 2
_N_BINS = 2 + _BINS_PER_OCTAVE * 20  # the first ends at a second, the last but one at 12 days
# What was long ago counts less: habits change.
_HALF_LIFE_S = 7 * 86400.0
# Before a model has a history, pauses are taken to have a heavy tail (Lomax): the longer nobody asked, the
# longer nobody will. It counts as so many pauses beside those that were seen.
_PRIOR_PAUSES = 1.0
_PRIOR_SCALE_S = 60.0
_PRIOR_SHAPE = 0.5


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """One model's use so far. Times are of one clock that goes on while the machine sleeps or is off."""

    n_uses: int = 0
    last_s: float | None = None
    pauses: tuple[float, ...] = (0.0,) * _N_BINS  # how many of each length, those of long ago counting less


def after(demand: Demand, now_s: float) -> Demand:
    """The same model, asked for once more. A clock that was set back counts as no pause."""
    if demand.last_s is None:
        return Demand(n_uses=demand.n_uses + 1, last_s=now_s, pauses=demand.pauses)
    pause_s = max(0.0, now_s - demand.last_s)
    aged = 0.5 ** (pause_s / _HALF_LIFE_S)
    pauses = [count * aged for count in demand.pauses]
    pauses[_bin_of(pause_s)] += 1.0
    return Demand(n_uses=demand.n_uses + 1, last_s=now_s, pauses=tuple(pauses))


def use_probability(demand: Demand, now_s: float, horizon_s: float) -> float:
    """The probability of a request within `horizon_s` from now, given that there was none since the last.

    A model that was never asked for counts as one that was asked for a horizon ago.
    """
    age_s = horizon_s if demand.last_s is None else max(0.0, now_s - demand.last_s)
    return max(0.0, 1.0 - _longer_than(demand, age_s + horizon_s) / _longer_than(demand, age_s))


def _longer_than(demand: Demand, pause_s: float) -> float:
    """How many pauses were longer, those of the prior included."""
    index = _bin_of(pause_s)
    begin_s, end_s = _edge_s(index), _edge_s(index + 1)
    share = max(0.0, end_s - pause_s) / (end_s - begin_s)
    prior: float = _PRIOR_PAUSES * (1.0 + pause_s / _PRIOR_SCALE_S) ** -_PRIOR_SHAPE
    return prior + share * demand.pauses[index] + sum(demand.pauses[index + 1 :])


def _bin_of(pause_s: float) -> int:
    if pause_s < 1.0:
        return 0
    return min(_N_BINS - 1, 1 + int(math.log2(pause_s) * _BINS_PER_OCTAVE))


def _edge_s(index: int) -> float:
    """Where a bin begins."""
    return 0.0 if index == 0 else math.exp2((index - 1) / _BINS_PER_OCTAVE)
