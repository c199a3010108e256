"""Notices, and who follows them."""

import threading

import msgspec
import pytest

from edged.errors import Overloaded, Unavailable
from edged.lifecycle import feed as feeds
from edged.lifecycle.feed import (
    MOST_FOLLOWERS,
    Ended,
    Eviction,
    Feed,
    LoadProgress,
    Lost,
    StateChange,
    Told,
    notices,
)
from edged.lifecycle.status import ModelStatus
from edged.service.server import RESERVE_THREADS
from tests.unit.lifecycle.machine import MIB, Machine, pool_of

PATIENCE_S = 20.0
STATUS = ModelStatus(
    model="m", state="unloaded", kind="generate", strategy="stream", load_at_start=True, predicted_ready_s=4.0
)


def eviction(frees_bytes: int) -> Eviction:
    return Eviction(model="m", makes_room_for=None, frees_bytes=frees_bytes)


def status(**changes: object) -> ModelStatus:
    return msgspec.structs.replace(STATUS, **changes)


def test_everyone_who_follows_is_told_in_order() -> None:
    feed = Feed()
    feed.publish(eviction(1))
    first, second = feed.follow(), feed.follow()
    feed.publish(eviction(2))
    feed.publish(eviction(3))
    for follower in (first, second):
        told = [follower.next(0), follower.next(0), follower.next(0)]
        assert [each and (each.number, each.notice) for each in told] == [
            (2, eviction(2)),
            (3, eviction(3)),
            None,
        ]


def test_who_is_slow_loses_the_oldest_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_MOST_WAITING", 3)
    feed = Feed()
    follower = feed.follow()
    for n in range(1, 8):
        feed.publish(eviction(n))
    told = [each for each in (follower.next(0) for _ in range(5)) if isinstance(each, Told)]
    assert [each.notice for each in told] == [Lost(count=4), eviction(5), eviction(6), eviction(7)]
    assert [each.number for each in told] == [4, 5, 6, 7]


def test_a_notice_wakes_who_waits_for_it() -> None:
    feed = Feed()
    follower = feed.follow()
    waiting = threading.Thread(target=lambda: feed.publish(eviction(1)))
    waiting.start()
    told = follower.next(PATIENCE_S)
    waiting.join()
    assert told is not None
    assert told.notice == eviction(1)


def test_the_end_comes_after_what_is_left() -> None:
    feed = Feed()
    follower = feed.follow()
    feed.publish(eviction(1))
    feed.close()
    assert follower.next(PATIENCE_S) is not None
    with pytest.raises(Ended):
        follower.next(PATIENCE_S)
    with pytest.raises(Unavailable, match="shutting down"):
        feed.follow()


def test_so_many_may_follow_and_each_who_leaves_makes_room() -> None:
    feed = Feed()
    followers = [feed.follow() for _ in range(MOST_FOLLOWERS)]
    with pytest.raises(Overloaded, match=f"{MOST_FOLLOWERS} clients"):
        feed.follow()
    feed.leave(followers[0])
    feed.publish(eviction(1))
    assert followers[0].next(0) is None
    feed.follow()


def test_followers_leave_threads_for_health() -> None:
    assert RESERVE_THREADS - MOST_FOLLOWERS >= 4


def test_a_change_of_state_is_told_with_its_cause() -> None:
    loading = status(state="loading", cause="demand")
    assert list(notices(STATUS, loading, 0.0)) == [
        StateChange(model="m", before="unloaded", state="loading", cause="demand")
    ]
    assert not list(notices(loading, msgspec.structs.replace(loading, pid=7, restarts=1), 0.0))


def test_a_failure_is_told_again_when_more_is_known_of_it() -> None:
    ended = status(state="failed", reason="its runner ended")
    known = msgspec.structs.replace(ended, reason="the runner was ended by SIGKILL while ready")
    assert [each.reason for each in notices(ended, known, 0.0) if isinstance(each, StateChange)] == [
        "the runner was ended by SIGKILL while ready"
    ]
    assert not list(notices(known, msgspec.structs.replace(known, given_up="crashes"), 0.0))


def test_progress_is_told_for_every_hundredth_and_every_phase() -> None:
    before = status(state="loading", bytes_done=10_000, bytes_total=1_000_000, phase="vocabulary")
    a_little = msgspec.structs.replace(before, bytes_done=19_999)
    assert not list(notices(before, a_little, 1.0))
    more = msgspec.structs.replace(a_little, bytes_done=20_000)
    [progress] = notices(a_little, more, 1.0)
    assert progress == LoadProgress(
        model="m", phase="vocabulary", bytes_done=20_000, bytes_total=1_000_000, remaining_s=3.0
    )
    assert len(list(notices(more, msgspec.structs.replace(more, phase="context"), 1.0))) == 1


def test_an_eviction_is_told_with_whom_it_makes_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    pool = pool_of({"a": 60 * MIB, "b": 70 * MIB}, 100 * MIB)
    follower = pool.feed.follow()
    for model in ("a", "b"):
        pool.ensure_ready(model, PATIENCE_S)
    told = [each.notice for each in iter(lambda: follower.next(0), None)]
    pool.close()
    eviction = Eviction(model="a", makes_room_for="b", frees_bytes=60 * MIB)
    [gone] = [each for each in told if isinstance(each, StateChange) and each.state == "unloaded"]
    assert (gone.model, gone.cause) == ("a", "evicted")
    assert told.index(eviction) < told.index(gone)
