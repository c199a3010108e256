"""What a runner answers to requests."""

import array
import math
from typing import Literal

import msgspec

from edged.runner.protocol.bounds import Count, Seconds


class Rejected(msgspec.Struct, frozen=True, tag="rejected", kw_only=True):
    """Not served: `invalid` as it is, the queue `full`, its deadline passed (`late`), or it `failed`."""

    id: int
    kind: Literal["invalid", "full", "late", "failed"]
    message: str
    param: str | None = None
    retry_after_s: Seconds = 1.0


class Admitted(msgspec.Struct, frozen=True, tag="admitted"):
    """A slot works on this generation; `n_cached_tokens` of the prompt were already in its KV cache."""

    id: int
    n_prompt_tokens: Count
    n_cached_tokens: Count
    opens_reasoning: bool = False  # the prompt ends where the model is to think: the answer begins inside


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A generated token's log probability before anything was left out, and those of the likeliest."""

    piece: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()
    ids: tuple[Count, ...] = ()  # of the token itself, then of the likeliest


class TokenEvent(msgspec.Struct, frozen=True, array_like=True):
    """New text of one of a request's answers. `n_generated` counts all its tokens so far."""

    id: int
    text: str
    n_generated: Count
    finish_reason: Literal["stop", "length"] | None = None
    index: Count = 0  # which of the request's `n` answers
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens that `text` completes, if they were asked for
    stopped_by: str = ""  # the stop text that ended it
    tokens: tuple[Count, ...] = ()  # since the last event, if they were asked for


class Step(msgspec.Struct, frozen=True, tag="step"):
    """One frame carries a step's tokens for all sequences."""

    events: tuple[TokenEvent, ...]


class Embeddings(msgspec.Struct, frozen=True, tag="embeddings", kw_only=True):
    """Unit vectors, row after row, as raw little-endian float32."""

    id: int
    n_embd: Count
    n_tokens: tuple[Count, ...]  # per input
    vectors: bytes

    def __post_init__(self) -> None:
        """A row of numbers for each input, or it is no frame of this contract."""
        if len(self.vectors) != 4 * self.n_embd * len(self.n_tokens) or not self.vectors:
            raise ValueError(f"{len(self.vectors)} bytes, for {len(self.n_tokens)} x {self.n_embd} numbers")
        if not math.isfinite(sum(array.array("f", self.vectors))):
            raise ValueError("vectors of what are no numbers")


class Scores(msgspec.Struct, frozen=True, tag="scores", kw_only=True):
    """The answer to `Rank`: one number for each document, the higher the better."""

    id: int
    scores: tuple[float, ...]
    n_tokens: Count  # of all pairs of query and document

    def __post_init__(self) -> None:
        """Numbers, or it is no frame of this contract."""
        if not all(map(math.isfinite, self.scores)):
            raise ValueError("scores of what are no numbers")


class Tokens(msgspec.Struct, frozen=True, tag="tokens", kw_only=True):
    """The answer to `Tokenize`."""

    id: int
    tokens: tuple[Count, ...]
    pieces: tuple[bytes, ...] = ()  # the bytes of each, if they were asked for


class Text(msgspec.Struct, frozen=True, tag="text"):
    """The answer to `Detokenize` and `Render`."""

    id: int
    text: str


class Warmed(msgspec.Struct, frozen=True, tag="warmed"):
    """The answer to `Warmup`."""

    id: int
    elapsed_s: Seconds
