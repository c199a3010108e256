"""What the daemon can say about one model at a moment. For showing only: to act, ask `Pool.ensure_ready`."""

from typing import Literal

import msgspec

State = Literal["unloaded", "loading", "ready", "unloading", "failed"]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State, progress and measured times of one model."""

    model: str
    state: State
    kind: Literal["generate", "embed"]
    strategy: str
    load_at_start: bool
    phase: str | None = None  # while loading: prefetch, vocabulary, context, warmup
    bytes_done: int = 0
    bytes_total: int = 0
    prefetch_done: bool = False
    reason: str | None = None  # why it failed or is refused
    last_log_lines: tuple[str, ...] = ()
    pid: int | None = None
    n_ctx: int | None = None
    n_embd: int | None = None
    restarts: int = 0
    busy_slots: int = 0
    queued_requests: int = 0
    predicted_ready_s: float | None = None
    measured_ready_s: float | None = None
    predicted_first_answer_s: float | None = None
    measured_first_answer_s: float | None = None
    remaining_s: float | None = None  # predicted time until it answers, while loading
