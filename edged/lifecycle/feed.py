"""What happens to the models, told to whoever follows. Who is slow loses the oldest, and is told so."""

import threading
import time
from collections import deque
from collections.abc import Iterator

import msgspec

from edged.errors import Overloaded, Unavailable
from edged.lifecycle.status import Cause, ModelStatus, State, UnloadCause, remaining_s

MOST_FOLLOWERS = 8
_MOST_WAITING = 256  # notices for one follower


class StateChange(msgspec.Struct, frozen=True, tag_field="event", tag="state", kw_only=True):
    """A model is in another state, or there for another reason. `before`: None where a follower begins."""

    model: str
    before: State | None
    state: State
    cause: Cause | UnloadCause | None = None  # why it is loaded, or unloaded
    reason: str | None = None  # why it failed, or what it waits for


class LoadProgress(msgspec.Struct, frozen=True, tag_field="event", tag="progress", kw_only=True):
    """One more hundredth of what is to be read has been read, or another phase of the load has begun."""

    model: str
    phase: str | None
    bytes_done: int
    bytes_total: int
    remaining_s: float | None


class Eviction(msgspec.Struct, frozen=True, tag_field="event", tag="eviction", kw_only=True):
    """A model has to leave so that another one can be loaded; None: so that others have memory."""

    model: str
    makes_room_for: str | None
    frees_bytes: int


class PressureStep(msgspec.Struct, frozen=True, tag_field="event", tag="pressure", kw_only=True):
    """Memory is short, or less so: how far edged gives way from now on, and what it has seen."""

    step: str  # one of policy.pressure.STEPS
    reason: str


class Lost(msgspec.Struct, frozen=True, tag_field="event", tag="lost", kw_only=True):
    """This follower was too slow for so many notices before the next one."""

    count: int


Notice = StateChange | LoadProgress | Eviction | PressureStep | Lost


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A notice with its number and when it was published (seconds since 1970)."""

    number: int
    at_s: float
    notice: Notice


class Ended(Exception):
    """The feed is closed, and everything has been told."""


class Following:
    """One follower's notices. `put` and `close` are the feed's, `next` is for one thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Told] = deque()
        self._n_lost = 0
        self._closed = False

    def put(self, told: Told) -> None:
        """Keep it until it is taken, in the place of the oldest where there are too many."""
        with self._changed:
            if len(self._waiting) == _MOST_WAITING:
                self._waiting.popleft()
                self._n_lost += 1
            self._waiting.append(told)
            self._changed.notify()

    def close(self) -> None:
        """Nothing will follow."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def next(self, wait_s: float) -> Told | None:
        """The next notice, or None when there is none for `wait_s`. Raises Ended after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, wait_s)
            if self._n_lost:
                lost, self._n_lost = Lost(count=self._n_lost), 0
                oldest = self._waiting[0]
                return Told(number=oldest.number - 1, at_s=oldest.at_s, notice=lost)
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise Ended
            return None


class Feed:
    """Passes notices on. Publishing never waits, and may be done under any lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: list[Following] = []
        self._n_published = 0
        self._closed = False

    @property
    def is_followed(self) -> bool:
        """Whether anybody follows."""
        return bool(self._followers)

    def publish(self, notice: Notice) -> None:
        """Tell everyone who follows."""
        with self._lock:
            self._n_published += 1
            told = Told(number=self._n_published, at_s=time.time(), notice=notice)
            for follower in self._followers:
                follower.put(told)

    def follow(self) -> Following:
        """Get every notice from now on, until `leave`. Raises Overloaded, or Unavailable after `close`."""
        follower = Following()
        with self._lock:
            if self._closed:
                raise Unavailable("edged is shutting down", 5.0)
            if len(self._followers) >= MOST_FOLLOWERS:
                raise Overloaded(f"{MOST_FOLLOWERS} clients follow the events already", 5.0)
            self._followers.append(follower)
        return follower

    def leave(self, follower: Following) -> None:
        """Pass nothing more on to it."""
        with self._lock:
            self._followers.remove(follower)

    def close(self) -> None:
        """End all followers when they have taken what there is."""
        with self._lock:
            self._closed = True
            for follower in self._followers:
                follower.close()


def first_notice(status: ModelStatus) -> StateChange:
    """What a new follower is told of a model."""
    cause = status.unloaded_by if status.state in ("unloaded", "unloading") else status.cause
    return StateChange(model=status.model, before=None, state=status.state, cause=cause, reason=status.reason)


def notices(before: ModelStatus, after: ModelStatus, elapsed_s: float) -> Iterator[Notice]:
    """What a follower is told of a change to a model's status, `elapsed_s` after its load began."""
    if after.state != before.state or (after.reason is not None and after.reason != before.reason):
        yield msgspec.structs.replace(first_notice(after), before=before.state)
    if (_hundredths(after), after.phase) != (_hundredths(before), before.phase) and after.bytes_total:
        yield LoadProgress(
            model=after.model,
            phase=after.phase,
            bytes_done=after.bytes_done,
            bytes_total=after.bytes_total,
            remaining_s=remaining_s(after, elapsed_s),
        )


def _hundredths(status: ModelStatus) -> int:
    return 100 * status.bytes_done // status.bytes_total if status.bytes_total else 0
