"""The decision about one model, its predictions and its reasons."""

from typing import Literal

import msgspec

Strategy = Literal["warm", "stream", "lazy", "on_demand", "locked", "refused"]
Kind = Literal["generate", "embed"]


class ByteRange(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a model file."""

    offset: int
    length: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan expects; the measured values stand beside these afterwards."""

    file_bytes: int
    anon_bytes: int
    ready_s: float | None  # None where the storage rate is unknown
    first_answer_s: float | None


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is loaded on this machine, and why.

    `n_ctx` is what one request may use (prompt and answer together); llama.cpp's own n_ctx is
    `n_ctx * n_seq_max` for generation. `prefetch` is in the order in which the bytes are wanted.
    """

    model: str
    path: str
    kind: Kind
    strategy: Strategy
    load_at_start: bool
    repack: bool
    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    n_threads: int
    prefetch: tuple[ByteRange, ...]
    random_access: tuple[ByteRange, ...]  # rows picked here and there: readahead would only waste reads
    mlock_bytes: int
    predicted: Prediction
    reasons: tuple[str, ...]
