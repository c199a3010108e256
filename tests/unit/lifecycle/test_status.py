"""Sentences and times about a model."""

from typing import Any

import msgspec
import pytest

from edged.lifecycle.status import (
    ModelStatus,
    how_far,
    least_remaining_s,
    remaining_s,
    what_goes_on,
    why_ended,
    why_not_ready,
)
from edged.lifecycle.supervision import Backoff

_MB = 1_000_000
LOADING = ModelStatus(
    model="m", state="loading", kind="generate", strategy="warm", load_at_start=True, predicted_ready_s=4.0,
    bytes_total=100 * _MB, reads_first=True,
)  # fmt: skip


def loading(**changes: object) -> ModelStatus:
    return msgspec.structs.replace(LOADING, **changes)


def test_every_exit_code_has_a_sentence() -> None:
    assert why_ended(-9, "ready") == "the runner was ended by SIGKILL while ready"
    assert why_ended(-35, "ready") == "the runner was ended by signal 35 while ready"
    assert why_ended(3, "loading") == "the runner exited with code 3 while loading"


def test_a_model_that_crashes_whenever_it_is_ready_waits_longer_each_time() -> None:
    backoff = Backoff(1.0, 60.0)
    assert [backoff.after(0.5, load_failed=False) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after(61.0, load_failed=False) == 1.0, "after long service it is a first failure"
    assert backoff.after(0.0, load_failed=True) == 60.0, "the file has to change first"


def test_what_is_left_is_what_the_plan_says_until_reading_shows_it() -> None:
    assert remaining_s(loading(), 1.0) == 3.0
    assert remaining_s(loading(bytes_done=20 * _MB), 2.0) == pytest.approx(0.2 * 8 + 0.8 * 2)
    assert remaining_s(loading(bytes_done=20 * _MB), 5.0) == 20.0  # the plan was wrong
    assert remaining_s(loading(bytes_done=20 * _MB, phase="room"), 5.0) == 4.0  # of an earlier load
    assert remaining_s(loading(bytes_done=100 * _MB, prefetch_done=True), 3.5) == 0.5
    assert remaining_s(loading(state="ready"), 1.0) is None
    assert remaining_s(loading(predicted_ready_s=None), 1.0) is None


def test_a_model_that_answers_while_it_reads_is_expected_by_its_plan_as_long_as_that_holds() -> None:
    streaming = loading(reads_first=False, bytes_done=20 * _MB)
    assert remaining_s(streaming, 1.0) == 3.0
    assert remaining_s(streaming, 10.0) == 40.0


@pytest.mark.parametrize(
    ("status", "elapsed_s"),
    [
        (loading(bytes_done=0), 5.0),
        (loading(bytes_done=1 * _MB), 5.0),  # too little to tell
        (loading(bytes_done=20 * _MB), 0.5),  # too early
        (loading(bytes_done=20 * _MB, reads_first=False), 5.0),  # it does not wait for that
        (loading(bytes_done=100 * _MB, prefetch_done=True), 5.0),
        (loading(bytes_done=20 * _MB, state="ready"), 5.0),
    ],
)
def test_nobody_is_sent_away_on_a_guess(status: ModelStatus, elapsed_s: float) -> None:
    assert least_remaining_s(status, elapsed_s) is None


def test_what_is_measured_is_believed_with_a_margin() -> None:
    status = loading(bytes_done=20 * _MB)
    assert least_remaining_s(status, 3.0) == 1.0  # no more than the plan says
    least_s = least_remaining_s(status, 5.0)
    assert least_s is not None
    assert 10.0 < least_s < 20.0


def test_how_far_it_is_in_one_line() -> None:
    assert how_far(loading(bytes_done=42 * _MB, remaining_s=2.2)) == "m is loading, 42 % read, about 3 s left"
    assert how_far(loading(prefetch_done=True)) == "m is loading"
    failed = how_far(loading(state="failed", reason="the runner ended\nwith two lines"))
    assert failed == "m failed: the runner ended with two lines"
    assert why_not_ready(loading(bytes_done=42 * _MB)) == "model m is loading, 42 % read"


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [
        ({"state": "unloaded"}, None),
        ({"state": "failed"}, None),
        ({"state": "ready", "bytes_total": 9, "prefetch_done": True}, None),
        ({"state": "ready"}, None),
        ({"state": "ready", "bytes_total": 9}, "loading"),
        ({"state": "loading"}, "loading"),
        ({"state": "unloading"}, "loading"),
        ({"state": "ready", "busy_slots": 1}, "computing"),
        ({"state": "ready", "queued_requests": 1}, "computing"),
    ],
)
def test_what_goes_on_in_any_of_the_models(changes: dict[str, Any], goes_on: str | None) -> None:
    def status(**changes: Any) -> ModelStatus:
        return ModelStatus(model="m", kind=None, strategy="warm", load_at_start=True, **changes)

    assert what_goes_on([status(state="unloaded"), status(**changes), status(state="ready")]) == goes_on
    assert what_goes_on([status(state="ready", busy_slots=1), status(state="loading")]) == "loading"
