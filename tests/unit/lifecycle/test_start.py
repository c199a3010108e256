"""When a start is over, and when it has failed."""

from typing import Any

import pytest

from edged.errors import NoModelLoaded, RunnerFailed
from edged.lifecycle.start import awaited, failure, gets_on
from edged.lifecycle.status import ModelStatus


def model(name: str, state: Any, *, at_start: bool = True, **changed: Any) -> ModelStatus:
    return ModelStatus(
        model=name, state=state, kind="generate", strategy="stream", load_at_start=at_start, **changed
    )


MISSING = model("missing", "failed", given_up="file", reason="missing.gguf is missing")
TOO_BIG = model("big", "failed", given_up="memory", reason="it does not fit")
CRASHING = model("rude", "failed", given_up="crashes", reason="the runner was ended by SIGSEGV")
READY = model("good", "ready")
LOADING = model("slow", "loading")
ON_DEMAND = model("later", "unloaded", at_start=False)


def test_a_start_waits_for_what_may_still_come() -> None:
    once_crashed = model("unlucky", "failed", reason="the runner was ended by SIGKILL")
    everything = [MISSING, TOO_BIG, CRASHING, READY, LOADING, ON_DEMAND, once_crashed]
    assert awaited(everything) == (LOADING, once_crashed)
    assert awaited([model("again", "loading", given_up="crashes")]) == (), "it is tried on without that"


@pytest.mark.parametrize(
    "statuses",
    [
        [],
        [ON_DEMAND],
        [READY],
        [MISSING, READY],
        [MISSING, LOADING],
        [MISSING, ON_DEMAND],
        [CRASHING, model("b", "failed", reason="crashed once")],
    ],
)
def test_what_can_serve_or_may_still_come_is_no_failure(statuses: list[ModelStatus]) -> None:
    assert failure(statuses) is None


def test_missing_and_damaged_files_are_not_cured_by_a_restart() -> None:
    lost = model("lost", "failed", at_start=False, given_up="file", reason="lost.gguf is missing")
    for statuses in ([MISSING], [MISSING, lost], [model("m", "loading", given_up="file")]):
        error = failure(statuses)
        assert isinstance(error, NoModelLoaded)
        assert error.exit_code == 4
    assert str(failure([MISSING])) == "no model could be loaded\nmissing: missing.gguf is missing"


@pytest.mark.parametrize("statuses", [[CRASHING], [TOO_BIG], [MISSING, CRASHING]])
def test_crashes_and_memory_may_be(statuses: list[ModelStatus]) -> None:
    error = failure(statuses)
    assert isinstance(error, RunnerFailed)
    assert error.exit_code == 1


def test_a_start_gets_on_while_a_runner_shows_life() -> None:
    assert gets_on([LOADING, CRASHING])
    assert not gets_on([model("stuck", "loading", silent_s=12.0)])
    assert not gets_on([READY])
    assert not gets_on([model("vain", "loading", given_up="crashes")])
