"""What the daemon can say about one model at a moment. For showing only: to act, ask `Pool.ensure_ready`."""

import math
import signal
import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from edged.policy.types import Kind
from edged.runner import protocol

State = Literal["unloaded", "loading", "ready", "unloading", "failed"]
Cause = Literal["boot", "demand", "evicted", "crash", "hung", "reload"]
UnloadCause = Literal["asked", "idle", "evicted", "pressure", "reload", "closing"]
GivenUp = Literal["file", "memory", "crashes"]
Cooled = Literal["pages", "context"]
Failure = Literal["file", "crash", "hung", "memory", "room"]

JUST_PLANNED: tuple[Cause, ...] = ("boot", "reload")  # loads by plans that knew what was there and cached

# A rate is believed when it was measured for so long and over so much of the file; reading has a share of its
# own in what was measured before it began, and the rest of the file may lie in the page cache.
_SURE_AFTER_S = 1.0
_SURE_SHARE = 0.02
_SURE_BYTES = 16 << 20
_SURE_RATIO = 0.7


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State, progress and measured times of one model."""

    model: str
    state: State
    kind: Kind | None  # None: its file could not be read, and the user does not say
    strategy: str
    load_at_start: bool
    pinned: bool = False
    phase: str | None = None  # while loading: room (waits for it), prefetch, vocabulary, context, warmup
    bytes_done: int = 0
    bytes_total: int = 0
    prefetch_done: bool = False
    reads_first: bool = False  # it answers only when everything has been read
    reason: str | None = None  # why it failed or is refused
    given_up: GivenUp | None = None  # why nobody need wait for it any more; None again when it is ready
    cause: Cause | None = None  # of its last load
    unloaded_by: UnloadCause | None = None  # why it is not there any more; None again when it is ready
    leaving: UnloadCause | None = None  # why it is unloaded as soon as its requests are answered
    keep_alive_s: float | None = None  # how long it stays without requests; None: as long as there is room
    silent_s: float = 0.0  # how long its runner has shown no sign of life
    last_log_lines: tuple[str, ...] = ()
    pid: int | None = None
    n_ctx: int | None = None
    n_embd: int | None = None
    chat: protocol.ChatFormat | None = None  # how it writes; None: it was never loaded, or has no template
    restarts: int = 0
    cooled: Cooled | None = None  # what its runner gave back since its last request
    busy_slots: int = 0
    queued_requests: int = 0
    drafted_tokens: int = 0  # computed ahead of their turn since the load, and how many of them were right
    accepted_tokens: int = 0
    predicted_ready_s: float | None = None
    measured_ready_s: float | None = None
    predicted_first_answer_s: float | None = None
    measured_first_answer_s: float | None = None
    remaining_s: float | None = None  # predicted time until it answers, while loading
    least_remaining_s: float | None = None  # it takes at least so long; None while nothing is sure
    tokens_per_s: float | None = None  # of its last answers, as their clients saw it
    unused_s: float | None = None  # since somebody last asked it or was answered


class LoadClock:
    """The times of one load, from the moment this is made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._ready_at_s: float | None = None
        self._unasked_s = 0.0  # how long the model had been ready before anybody asked

    @property
    def elapsed_s(self) -> float:
        """Since the load began."""
        return time.monotonic() - self._began_s

    @property
    def served_s(self) -> float:
        """Since the model became ready; 0 while it is not."""
        return 0.0 if self._ready_at_s is None else time.monotonic() - self._ready_at_s

    @property
    def first_answer_s(self) -> float:
        """Since the load began, less the time in which nobody asked."""
        return self.elapsed_s - self._unasked_s

    def ready(self) -> float:
        """The model answers from now on; returns how long that took."""
        self._ready_at_s = time.monotonic()
        return self._ready_at_s - self._began_s

    def asked(self) -> None:
        """Somebody asks for the first answer."""
        self._unasked_s = self.served_s


def remaining_s(status: ModelStatus, elapsed_s: float) -> float | None:
    """Predicted seconds until a loading model answers: by its plan, as long as that is not proven wrong.

    Where everything is read before it answers, what is read already says as much as its share of all: the
    rate of the first bytes is that of a busy start.
    """
    if status.state != "loading":
        return None
    if status.phase == "room":  # its load has not begun
        return status.predicted_ready_s
    planned_s = _planned_s(status, elapsed_s)
    if not status.bytes_done or status.prefetch_done or (planned_s and not status.reads_first):
        return planned_s
    reading_s, share = _reading_s(status, elapsed_s), status.bytes_done / status.bytes_total
    return share * reading_s + (1 - share) * (planned_s or reading_s)


def least_remaining_s(status: ModelStatus, elapsed_s: float) -> float | None:
    """Seconds that a loading model takes at the very least; None while that is not sure.

    It is where everything is read before the model answers, and this load has measured how fast that goes:
    the plan alone may rest on another state of the page cache.
    """
    if status.state != "loading" or status.phase == "room" or status.prefetch_done:
        return None
    enough_bytes = min(_SURE_SHARE * status.bytes_total, _SURE_BYTES)
    if not status.reads_first or elapsed_s < _SURE_AFTER_S or status.bytes_done < enough_bytes:
        return None
    return min(_SURE_RATIO * _reading_s(status, elapsed_s), _planned_s(status, elapsed_s) or math.inf)


def _planned_s(status: ModelStatus, elapsed_s: float) -> float | None:
    return None if status.predicted_ready_s is None else max(0.0, status.predicted_ready_s - elapsed_s)


def _reading_s(status: ModelStatus, elapsed_s: float) -> float:
    return (status.bytes_total - status.bytes_done) * elapsed_s / status.bytes_done


def why_not_ready(status: ModelStatus) -> str:
    """A sentence for who asked for a model that does not answer."""
    if status.state == "failed":
        return f"model {status.model} cannot be loaded: {status.reason}"
    return f"model {_situation(status)}"


def how_far(status: ModelStatus) -> str:
    """A line for who waits: `smollm2 is loading, 42 % read, about 3 s left`."""
    failed = status.state == "failed"  # and it is tried again
    text = f"{status.model} failed: {status.reason}" if failed else _situation(status)
    return " ".join(text.split())


def progress(status: ModelStatus) -> list[str]:
    """What is known of how far a load is."""
    parts = []
    if status.bytes_total and not status.prefetch_done and status.phase != "room":
        parts.append(f"{100 * status.bytes_done / status.bytes_total:.0f} % read")
    if status.remaining_s:
        parts.append(f"about {math.ceil(status.remaining_s)} s left")
    return parts


def _situation(status: ModelStatus) -> str:
    if status.phase == "room" and status.reason:
        return f"{status.model} waits for room in memory: {status.reason}"
    if status.state == "ready" and status.leaving:
        return f"{status.model} is being unloaded ({status.leaving}) once its requests are answered"
    return ", ".join([f"{status.model} is {status.state}", *progress(status)])


def why_ended(exit_code: int, state: State, *, for_memory: bool = False) -> str:
    """How a runner's process ended, from its exit code (negative: by that signal)."""
    if for_memory:
        return f"the kernel ended the runner while {state}, because there was no memory left"
    if exit_code < 0:
        names = {number.value: number.name for number in signal.Signals}  # not every real-time signal has one
        return f"the runner was ended by {names.get(-exit_code, f'signal {-exit_code}')} while {state}"
    return f"the runner exited with code {exit_code} while {state}"


def what_goes_on(statuses: Iterable[ModelStatus]) -> Literal["loading", "computing"] | None:
    """Whether any model is loaded or read just now, or else computes; None: nothing goes on."""
    computing = False
    for each in statuses:
        reading = each.state == "ready" and bool(each.bytes_total) and not each.prefetch_done
        if reading or each.state in ("loading", "unloading"):
            return "loading"
        computing = computing or bool(each.busy_slots or each.queued_requests)
    return "computing" if computing else None


def seconds(duration_s: float | None) -> str:
    """A duration for a log line."""
    return "unknown" if duration_s is None else f"{duration_s:.2f} s"
