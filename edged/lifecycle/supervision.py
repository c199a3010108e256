"""How runners are watched, who is told, and a plan as the first frame to its runner."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from edged.config.schema import Config
from edged.gguf.footprint import MAX_DRAFT_TOKENS
from edged.lifecycle.prefixes import prefix_folder
from edged.lifecycle.status import Cause, Failure, GivenUp, UnloadCause
from edged.policy.types import ByteRange, LoadPlan
from edged.runner import protocol
from edged.runner.turns import expect

_CRASHES_WORTH_WAITING_FOR = 3


class Supervision(msgspec.Struct, frozen=True, kw_only=True):
    """How runners are watched; from the `loading` section and each model's queue limits."""

    load_timeout_s: float
    hang_timeout_s: float = 60.0
    backoff_s: float
    backoff_max_s: float
    max_queue_requests: int
    max_queue_tokens: int
    step_s: float = 0.25
    speculate: bool = False
    pinned: bool = False
    keep_alive_s: float = math.inf  # without requests
    linger_s: float = 0.0  # how long room is made for a load that nobody waits for any more
    prefix_dir: str | None = None
    prefix_bytes: int = 0
    lease_fd: int | None
    board_fd: int | None = None
    number: int = 0  # of the model's place on the board

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that a runner is given."""
        return tuple(fd for fd in (self.lease_fd, self.board_fd) if fd is not None)


def supervision_of(
    config: Config, model: str, lease_fd: int | None, board_fd: int | None, number: int
) -> Supervision:
    """A model's, from its configuration and what all runners share."""
    loading, settings = config.loading, config.models[model]
    return Supervision(
        load_timeout_s=loading.load_timeout,
        hang_timeout_s=loading.hang_timeout,
        backoff_s=loading.restart_backoff,
        backoff_max_s=loading.restart_backoff_max,
        max_queue_requests=settings.max_queue_requests,
        max_queue_tokens=settings.max_queue_tokens,
        step_s=float(settings.step_time),
        speculate=settings.speculation == "auto",
        prefix_dir=str(prefix_folder(config, model)),
        prefix_bytes=int(settings.prefix_cache),
        pinned=settings.pinned,
        keep_alive_s=keep_alive_s(config, model),
        linger_s=loading.request_wait,
        lease_fd=lease_fd,
        board_fd=board_fd,
        number=number,
    )


def keep_alive_s(config: Config, model: str) -> float:
    """How long a model stays without requests; infinite: as long as there is room."""
    own = config.models[model].keep_alive
    kept = config.loading.keep_alive if own == "auto" else own
    return math.inf if kept == "never" else float(kept)


class Backoff:
    """How long to wait before a model that failed is loaded again: twice as long each time."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self.first_s = first_s
        self.longest_s = longest_s
        self.crashes = 0

    def after(self, served_s: float, *, load_failed: bool) -> float:
        """Seconds to wait after one more failure. One that came after long service is a first failure.

        `load_failed`: the file has to change first, so there is no hurry.
        """
        self.crashes = 1 if served_s > self.longest_s else self.crashes + 1
        if load_failed:
            return self.longest_s
        return min(self.longest_s, self.first_s * 2.0 ** min(self.crashes - 1, 16))

    def given_up(self, *, load_failed: bool) -> GivenUp | None:
        """Why nobody need wait for the model any more, though it is tried again."""
        if load_failed:
            return "file"
        return "crashes" if self.crashes >= _CRASHES_WORTH_WAITING_FOR else None

    def reset(self) -> None:
        """Forget earlier failures."""
        self.crashes = 0


class Awaited:
    """Whether requests wait for a model to load: its reader then goes before those that nobody waits for.

    Not thread-safe: used under the condition of the model's handle.
    """

    def __init__(self, supervision: Supervision) -> None:
        self._board_fd = supervision.board_fd
        self._number = supervision.number
        self._n_waiting = 0

    @contextmanager
    def by_one_more(self) -> Iterator[None]:
        """One more request waits meanwhile."""
        self._n_waiting += 1
        try:
            self._tell()
            yield
        finally:
            self._n_waiting -= 1
            self._tell()

    def close(self) -> None:
        """Tell nothing any more: the pool closes the descriptor after its handles."""
        self._board_fd = None

    def _tell(self) -> None:
        if self._board_fd is not None:
            expect(self._board_fd, self._number, expected=self._n_waiting > 0)


class Observer(Protocol):
    """Who wants to know: metrics and calibration. Called from supervisor threads; must not block."""

    def ready(self, plan: LoadPlan, cause: Cause, ready: protocol.Ready, ready_s: float) -> None:
        """A model answers from now on, `ready_s` after it was asked for."""

    def first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """The first answer after a load, in seconds since that load began."""

    def reads(self, plan: LoadPlan, reads: protocol.Reads) -> None:
        """What a load and the first answer after it have read from storage."""

    def failed(self, plan: LoadPlan, reason: str, how: Failure) -> None:
        """A load failed or a runner died."""

    def unloaded(self, plan: LoadPlan, cause: UnloadCause) -> None:
        """A model's memory is free."""


def reads_first(plan: LoadPlan) -> bool:
    """Whether a model is ready only when its file has been read: for a warm-up, or to copy its weights."""
    return _warms_up(plan) or plan.repack


def _warms_up(plan: LoadPlan) -> bool:
    return plan.strategy in ("warm", "locked")


def start_frame(plan: LoadPlan, supervision: Supervision, *, reads_ahead: bool = True) -> protocol.Start:
    """What to load and how; without `reads_ahead` pages come as they are touched, but for pinned ones."""
    reads_ahead = reads_ahead or bool(plan.mlock_bytes) or plan.repack
    warm = _warms_up(plan) and reads_ahead
    return protocol.Start(
        path=plan.path,
        kind=plan.kind,
        wait_for_prefetch=warm,
        warmup=warm,
        repack=plan.repack,
        n_ctx=plan.n_ctx,
        n_seq_max=plan.n_seq_max,
        n_batch=plan.n_batch,
        n_ubatch=plan.n_ubatch,
        type_k=plan.type_k,
        type_v=plan.type_v,
        n_threads=plan.n_threads,
        adapt_threads=plan.adapt_threads,
        prefetch=_ranges(plan.prefetch) if reads_ahead else (),
        random_access=_ranges(plan.random_access),
        replaced=_ranges(plan.replaced),
        mlock_bytes=plan.mlock_bytes,
        max_queue_requests=supervision.max_queue_requests,
        max_queue_tokens=supervision.max_queue_tokens,
        step_s=supervision.step_s,
        max_draft_tokens=MAX_DRAFT_TOKENS if supervision.speculate and plan.kind == "generate" else 0,
        prefix_dir=supervision.prefix_dir,
        prefix_bytes=supervision.prefix_bytes,
        read_bytes_per_s=plan.predicted.read_bytes_per_s,
        pass_waits=plan.pass_waits,
        lease_fd=supervision.lease_fd,
        board_fd=supervision.board_fd,
        number=supervision.number,
    )


def limits_frame(supervision: Supervision) -> protocol.Limit:
    """What of it a runner that works can be told."""
    return protocol.Limit(
        max_queue_tokens=supervision.max_queue_tokens,
        max_queue_requests=supervision.max_queue_requests,
        step_s=supervision.step_s,
    )


def _ranges(ranges: tuple[ByteRange, ...]) -> tuple[protocol.FileRange, ...]:
    return tuple(protocol.FileRange(piece.offset, piece.length) for piece in ranges)
