"""How many threads the next step computes with: as many as there are cores that are really free. Pure.

Threads meet at a barrier after every operation, so one thread too many on a core that somebody else uses
costs most of the speed: with one busy neighbour on two cores, one thread decodes several times as fast as
two. What is free cannot be read off reliably (quotas, steal, neighbours of lower priority), so it is tried:
steps with the present number and with one more or less take turns, and the faster stays. A step that has
become slow or cores that have become idle prompt a trial at once; without a sign trials get rarer, and each
loss is paid back by time computed without trials before the next. Cores that stay idle are a sign as well:
what made the last trial lose may have lasted no longer than it did. A prompt's steps are long, and lose most:
where decoding shows that all cores are free, nothing is tried with them, and what decoding finds is a sign.
"""

from dataclasses import dataclass

_PAIRS = 6  # steps of each kind in a trial
_DECIDED = ((1, 3.0), (2, 1.5))  # so many pairs are enough where the one is so many times as slow
_BETTER_RATIO = 0.95  # what is no more than noise changes nothing
_LOSS_SHARE = 0.015  # of the time, for trials that lose
_OVERDRAFT_S = 10.0  # of computing: a sign may prompt a trial so much before losses are paid back
_FIRST_INTERVAL_S = 0.5
_LONGEST_INTERVAL_S = 8.0
_SLOWER_RATIO = 1.3
_EXCESS = 2.5  # usual steps that slow ones, one after the other, have lost: single ones are slow now and then
_CLOCK_S = 1e-9
_USUAL_SHARE = 0.03  # new values' weight in the average of what is usual
_IDLE_CORES = 0.7
_DECODE_TOKENS = 16  # steps of fewer tokens read weights, steps of more compute: they want different numbers


class Threads:
    """The numbers for decoding and for prompts, learnt apart."""

    def __init__(self, most: int) -> None:
        """Between one and `most`, which is the first choice."""
        self._few, self._many = _Track(most), _Track(most)

    def next(self, n_tokens: int, now_s: float) -> int:
        """For a step of `n_tokens`; `record` follows it."""
        track = self._track(n_tokens)
        needs_sign = track is self._many and self._few.all_free
        return track.next(n_tokens.bit_length(), now_s, needs_sign=needs_sign)

    def record(self, n_tokens: int, elapsed_s: float, now_s: float) -> None:
        """That step took so long, and has just ended."""
        elapsed_s = max(_CLOCK_S, elapsed_s)
        before = self._few.used
        self._track(n_tokens).record(n_tokens.bit_length(), elapsed_s / n_tokens, elapsed_s, now_s)
        self._many.told(self._few.used - before)

    def idle(self, cores: float) -> None:
        """So many cores were idle lately, while steps were computed."""
        self._few.idle(cores)
        self._many.idle(cores)

    @property
    def below_most(self) -> bool:
        """Whether idle cores would be of use."""
        return self._few.below_most or self._many.below_most

    def _track(self, n_tokens: int) -> "_Track":
        return self._few if n_tokens < _DECODE_TOKENS else self._many


@dataclass(slots=True)
class _Trial:
    """Steps of one size, with the number in use and with another one by turns. Times are per token."""

    size: int
    other: int
    began_s: float
    used_s: float = 0.0
    other_s: float = 0.0
    other_is_next: bool = True
    n_steps: int = 0
    spent_s: float = 0.0  # with the other number, in whole steps

    def verdict(self) -> bool | None:
        """Whether the other number is better; None while that is open."""
        pairs, odd = divmod(self.n_steps, 2)
        if odd or not pairs:
            return None
        ratio = max(self.used_s, self.other_s) / min(self.used_s, self.other_s)
        if pairs >= _PAIRS or any(pairs >= enough and ratio >= clear for enough, clear in _DECIDED):
            return self.other_s < self.used_s * _BETTER_RATIO
        return None

    @property
    def loss_s(self) -> float:
        """What the other number cost."""
        return max(0.0, self.spent_s * (1 - self.used_s / self.other_s)) if self.other_s else 0.0


class _Track:
    """The number for steps of one kind."""

    def __init__(self, most: int) -> None:
        self._most = self.used = most
        self._trial: _Trial | None = None
        self._interval_s = _FIRST_INTERVAL_S
        self._computed_s = 0.0
        self._paid_back_s = 0.0  # until so much was computed no trials without a sign
        self._due_s: float | None = None
        self._up_next = False
        self._usual: dict[int, float] = {}  # seconds a token, by size of step
        self._excess = 0.0
        self._cores_idle = False
        self._idle_is_news = False
        self._slow_is_news = False
        self._last_size = 0

    @property
    def below_most(self) -> bool:
        return self.used < self._most

    @property
    def all_free(self) -> bool:
        """Whether steps were computed, and best with all threads."""
        return self._computed_s > 0 and not self.below_most

    def told(self, change: int) -> None:
        """Others have found so many more threads, or fewer, to be better."""
        self._idle_is_news |= change > 0
        self._slow_is_news |= change < 0

    def idle(self, cores: float) -> None:
        idle = cores >= _IDLE_CORES
        self._idle_is_news = idle and (self._idle_is_news or not self._cores_idle)
        self._cores_idle = idle

    def next(self, size: int, now_s: float, *, needs_sign: bool) -> int:
        if self._trial is None and size == self._last_size:  # a trial needs more steps like this one
            self._trial = self._new_trial(size, now_s, needs_sign)
        self._last_size = size
        trial = self._trial
        return trial.other if trial and trial.size == size and trial.other_is_next else self.used

    def record(self, size: int, token_s: float, elapsed_s: float, now_s: float) -> None:
        self._computed_s += elapsed_s
        trial = self._trial
        if trial is None:
            self._watch(size, token_s)
        elif trial.size == size:
            if trial.other_is_next:
                trial.other_s += token_s
                trial.spent_s += elapsed_s
            else:
                trial.used_s += token_s
            trial.other_is_next = not trial.other_is_next
            trial.n_steps += 1
            better = trial.verdict()
            if better is not None:
                self._end(trial, better, now_s)
        elif now_s > trial.began_s + _LONGEST_INTERVAL_S:
            self._end(trial, False, now_s)  # no more steps of its size

    def _watch(self, size: int, token_s: float) -> None:
        usual = self._usual.get(size, token_s)
        self._excess = self._excess + token_s / usual - 1 if token_s > _SLOWER_RATIO * usual else 0.0
        self._slow_is_news |= self._excess >= _EXCESS
        self._usual[size] = usual + _USUAL_SHARE * (token_s - usual)

    def _new_trial(self, size: int, now_s: float, needs_sign: bool) -> _Trial | None:
        if self._most == 1:
            return None
        if self._due_s is None:
            self._due_s = now_s + self._interval_s
        is_due = now_s >= self._due_s
        debt_s = self._paid_back_s - self._computed_s
        up = self._idle_is_news and self.below_most
        down = self._slow_is_news and self.used > 1
        if (up or down) and (is_due or debt_s <= _OVERDRAFT_S):
            self._interval_s = _FIRST_INTERVAL_S
        elif is_due and self._cores_idle and self.below_most:  # whatever made the last trial lose has gone
            up = True
        elif is_due and debt_s <= 0 and not needs_sign:
            up = self.used == 1 or (self._up_next and self.below_most)
        else:
            return None
        self._idle_is_news = self._slow_is_news = False
        self._up_next = not up
        return _Trial(size, self.used + (1 if up else -1), now_s)

    def _end(self, trial: _Trial, better: bool, now_s: float) -> None:
        self._trial = None
        self._excess = 0.0
        self._usual.clear()
        if better:
            self._up_next = trial.other > self.used  # on in this direction
            self.used = trial.other
            self._cores_idle = False  # of what is left now
            self._interval_s = _FIRST_INTERVAL_S
        else:
            self._interval_s = min(2 * self._interval_s, _LONGEST_INTERVAL_S)
            self._paid_back_s = max(self._computed_s, self._paid_back_s) + trial.loss_s / _LOSS_SHARE
        self._due_s = now_s + self._interval_s
