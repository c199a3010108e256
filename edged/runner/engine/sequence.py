"""One generation request on its way through the engine, and the slot that works on it."""

from dataclasses import dataclass, field
from typing import Protocol

from edged.runner.engine.candidates import Logits
from edged.runner.engine.text import HeldLogprobs, TextStream


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
    n_cached_tokens: int = 0

    @property
    def n_generated(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.n_prompt_tokens


@dataclass(slots=True)
class Slot:
    """One llama.cpp sequence id. `cached` is exactly what its KV cells hold, whoever put them there."""

    index: int
    cached: list[int] = field(default_factory=list)
    sequence: Sequence | None = None

    def common_prefix(self, tokens: list[int]) -> int:
        """How many leading tokens of a prompt this slot already holds, leaving at least one to compute."""
        limit = min(len(self.cached), len(tokens) - 1)
        if self.cached[:limit] == tokens[:limit]:
            return limit
        return next(i for i in range(limit) if self.cached[i] != tokens[i])
