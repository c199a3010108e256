"""One generation request on its way through the engine, and the slot that works on it."""

import math
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from edged.runner.engine.candidates import Logits
from edged.runner.engine.speculation import Lookup
from edged.runner.engine.text import HeldLogprobs, TextStream
from edged.runner.protocol import TokenEvent


class SamplerLike(Protocol):
    """What a sequence owns and must free (`edged.runner.sampler.Sampler`)."""

    def choose(self, logits: Logits) -> int | None:
        """The next token; None when none is possible."""

    def close(self) -> None:
        """Free it. Safe to call twice."""


@dataclass(slots=True)
class Sequence:
    """An answer to a request: its tokens so far and what is left to do.

    A request for several answers is one sequence with `siblings`: the first computes the prompt, the others
    copy what it left in the KV cache.
    """

    id: int
    tokens: list[int]  # prompt, then generated
    n_prompt_tokens: int
    max_tokens: int
    sampler: SamplerLike
    text: TextStream
    has_grammar: bool = False
    index: int = 0  # among the request's answers
    siblings: tuple["Sequence", ...] = ()
    top_logprobs: int | None = None
    logprobs: HeldLogprobs = field(default_factory=HeldLogprobs)
    cache_prompt: bool = True  # False: nothing of it is taken from what others have computed
    n_cached_tokens: int = 0
    deadline_s: float = math.inf  # monotonic; after it nobody waits for the answer
    may_draft: bool = True  # False: the same tokens every time, to the last rounding
    control_pieces: bool = False  # control tokens give their text
    opens_reasoning: bool = False  # its prompt ends where the model is to think
    tell_tokens: bool = False  # its client wants their numbers
    whole: bool = False  # its client takes all at once
    _n_told: int = 0  # tokens that were told
    _held: list[TokenEvent] | None = None  # what was not sent, after the first event
    _lookup: Lookup | None = None

    @property
    def n_generated(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.n_prompt_tokens

    @property
    def n_left(self) -> int:
        """How many more tokens it may generate."""
        return self.max_tokens - self.n_generated

    def due(self, event: TokenEvent) -> TokenEvent | None:
        """What is to be sent now that this event has happened.

        Of an answer that its client takes all at once, the first event, which shows that it has begun, and
        the last with everything in between: passing tokens on takes the daemon time on cores that compute.
        """
        if not event.text and not event.finish_reason:
            return None
        if not self.whole:
            return self._with_tokens(event)
        if self._held is None:
            self._held = []
            return self._with_tokens(event)
        self._held.append(event)
        if event.finish_reason is None:
            return None
        text = "".join(each.text for each in self._held)
        logprobs = tuple(entry for each in self._held for entry in each.logprobs)
        return self._with_tokens(replace(event, text=text, logprobs=logprobs))

    def _with_tokens(self, event: TokenEvent) -> TokenEvent:
        """With those that came since the last event that was sent."""
        if not self.tell_tokens:
            return event
        tokens = tuple(self.tokens[self.n_prompt_tokens + self._n_told :])
        self._n_told += len(tokens)
        return replace(event, tokens=tokens)

    def lookup(self) -> Lookup | None:
        """What its own past says of its next tokens; None where no draft is allowed."""
        if not self.may_draft:
            return None
        if self._lookup is None:
            self._lookup = Lookup(self.tokens)
        self._lookup.follow()
        return self._lookup


@dataclass(slots=True)
class Slot:
    """One llama.cpp sequence id. `cached` is exactly what its KV cells hold, whoever put them there."""

    index: int
    cached: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    passed_over: int = 0  # prompt tokens of others that were computed while this prompt waited
    used_at: int = 0  # the number of the admission that used it last
    reused: int = 0  # leading cells that a later prompt has asked for again
