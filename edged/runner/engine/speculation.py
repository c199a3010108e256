"""Drafts without a second model: what followed the same three tokens before probably follows again. Pure.

A draft is verified in one step, whose every position is sampled like any other token: what is wrong costs
time and changes nothing. Whether a draft pays is known before it is tried: how often a sequence follows its
own past is counted on tokens that were generated anyway, drafted or not, and how long steps of each size take
is measured.
"""

from collections.abc import Sequence as SequenceOf

_N_GRAM = 3
_FORGET = 0.9  # what is left of an observation's weight at the next one
_RUNS = (1, 4)  # a match that has held for fewer tokens than this: three kinds of them
_PRIORS = ((1.0, 3.0), (1.0, 2.0), (2.0, 2.5))  # right ones of so many; measured ones soon outweigh them
_LEAST_GAIN = 1.05  # a draft must promise so many times the tokens a second
_NEW_SHARE = 0.25
_VALID_STEPS = 4096  # then what a draft costs may be measured again: cores come and go, contexts grow
_LEAST_EXTRA = 0.05  # of a step, for each drafted token, until that was measured: low, so that it is tried
_HOPE = 0.5  # of what shorter drafts, or old measurements, say that a token costs


class Lookup:
    """Where a sequence repeats itself, and how well that predicts it. Constant time per token."""

    def __init__(self, tokens: list[int]) -> None:
        """`tokens` is the sequence's own list, to which others append."""
        self._tokens = tokens
        self._n_seen = len(tokens)
        grams = zip(*(tokens[start:] for start in range(_N_GRAM)), strict=False)
        # the last one wins; what follows the end is not known yet
        self._followers = dict(zip(grams, range(_N_GRAM, len(tokens)), strict=False))
        self._at = self._followers.get(tuple(tokens[-_N_GRAM:]))
        self._run = 0
        self._counts = list(_PRIORS)

    def follow(self) -> None:
        """Take in the tokens that were generated since, and count which of them were predicted."""
        tokens = self._tokens
        for at in range(self._n_seen, len(tokens)):
            if self._at is not None:
                right = tokens[self._at] == tokens[at]
                self._count(right)
                self._at, self._run = (self._at + 1, self._run + 1) if right else (None, 0)
            self._followers[tuple(tokens[max(0, at - _N_GRAM) : at])] = at
            if self._at is None:
                self._at = self._followers.get(tuple(tokens[max(0, at + 1 - _N_GRAM) : at + 1]))
        self._n_seen = len(tokens)

    @property
    def predicts(self) -> bool:
        """Whether the last tokens were there before."""
        return self._at is not None

    def expected(self, n_tokens: int) -> float:
        """How many of a draft of `n_tokens` are probably right."""
        all_right, expected = 1.0, 0.0
        for run in range(self._run, self._run + n_tokens):
            right, seen = self._counts[_kind(run)]
            all_right *= right / seen
            expected += all_right
        return expected

    def draft(self, n_tokens: int) -> list[int]:
        """What followed before; where that reaches the end, it goes round."""
        assert self._at is not None
        drafted = self._tokens[self._at : self._at + n_tokens]
        while len(drafted) < n_tokens:
            drafted += drafted[: n_tokens - len(drafted)]
        return drafted

    def _count(self, right: bool) -> None:
        kind = _kind(self._run)
        n_right, seen = self._counts[kind]
        self._counts[kind] = (_FORGET * n_right + right, _FORGET * seen + 1)


class Speculation:
    """How many tokens the next step drafts, and what became of those so far."""

    def __init__(self, max_draft_tokens: int) -> None:
        """At most so many in one step, and so many less for each sequence but the first."""
        self._max_draft_tokens = max_draft_tokens
        self._plain_s: dict[int, float] = {}  # a step without drafts, by number of sequences
        self._costs: dict[tuple[int, int], tuple[float, int]] = {}  # of plain steps, and in which step
        self._n_steps = 0
        self.n_drafted = 0
        self.n_accepted = 0

    def measured(self, n_sequences: int, n_draft: int, elapsed_s: float) -> None:
        """A step without prompts took `elapsed_s`, with a draft of `n_draft` tokens for each sequence."""
        self._n_steps += 1
        plain_s = self._plain_s.get(n_sequences, elapsed_s)
        if not n_draft:
            self._plain_s[n_sequences] = _moved(plain_s, elapsed_s)
            return
        cost = elapsed_s / plain_s
        old, _ = self._costs.get((n_sequences, n_draft), (cost, 0))
        self._costs[n_sequences, n_draft] = (_moved(old, cost), self._n_steps)

    def verified(self, n_draft: int, n_accepted: int, *, may_go_on: bool) -> None:
        """A draft was tried; no other will be unless it `may_go_on`."""
        if not may_go_on:
            self._max_draft_tokens = 0
        self.n_drafted += n_draft
        self.n_accepted += n_accepted

    def drafts(self, lookups: SequenceOf[Lookup | None], room: int) -> list[list[int]]:
        """A draft for each sequence, of at most `room` tokens; empty: none pays.

        All are equally long: llama.cpp cuts a batch whose sequences differ in length into several passes over
        the weights.
        """
        predicting = [lookup for lookup in lookups if lookup is not None and lookup.predicts]
        if not lookups or len(predicting) < len(lookups):
            return []
        most = (1 + self._max_draft_tokens - len(predicting)) // len(predicting)
        n_draft = self._length(predicting, min(room, most))
        return [lookup.draft(n_draft) for lookup in predicting] if n_draft else []

    def _length(self, lookups: SequenceOf[Lookup], most: int) -> int:
        """The one with the most tokens a second, by expected tokens and measured times."""
        n_sequences = len(lookups)
        if n_sequences not in self._plain_s:
            return 0
        known = [n_draft for n, n_draft in self._costs if n == n_sequences]
        best, best_rate = 0, _LEAST_GAIN * n_sequences
        for n_draft in range(1, min(most, 2 * max(known, default=0) + 1) + 1):
            n_tokens = n_sequences + sum(lookup.expected(n_draft) for lookup in lookups)
            cost = self._cost(n_sequences, n_draft)
            if n_tokens > best_rate * cost:
                best, best_rate = n_draft, n_tokens / cost
        return best

    def _cost(self, n_sequences: int, n_draft: int) -> float:
        """Of a step with such drafts, in plain steps; what was not measured lately is hoped to be low."""
        cost, step = self._costs.get((n_sequences, n_draft), (0.0, -_VALID_STEPS))
        if step > self._n_steps - _VALID_STEPS:
            return cost
        shorter = [n for n_seq, n in self._costs if n_seq == n_sequences and n <= n_draft]
        extra = _LEAST_EXTRA * n_sequences
        if shorter:
            longest = max(shorter)
            extra = max(extra, _HOPE * (self._costs[n_sequences, longest][0] - 1) / longest)
        return 1 + extra * n_draft


def _moved(old: float, new: float) -> float:
    return old + _NEW_SHARE * (new - old)


def _kind(run: int) -> int:
    return 0 if run < _RUNS[0] else 1 if run < _RUNS[1] else 2
