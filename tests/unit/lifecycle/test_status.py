"""Sentences and times about a model."""

from typing import Any

import pytest

from edged.lifecycle.status import ModelStatus, what_goes_on, why_ended
from edged.lifecycle.supervision import Backoff


def test_every_exit_code_has_a_sentence() -> None:
    assert why_ended(-9, "ready") == "the runner was ended by SIGKILL while ready"
    assert why_ended(-35, "ready") == "the runner was ended by signal 35 while ready"
    assert why_ended(3, "loading") == "the runner exited with code 3 while loading"


def test_a_model_that_crashes_whenever_it_is_ready_waits_longer_each_time() -> None:
    backoff = Backoff(1.0, 60.0)
    assert [backoff.after(0.5, load_failed=False) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after(61.0, load_failed=False) == 1.0, "after long service it is a first failure"
    assert backoff.after(0.0, load_failed=True) == 60.0, "the file has to change first"


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
