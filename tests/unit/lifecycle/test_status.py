"""Sentences and times about a model."""

from edged.lifecycle.status import why_ended
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
