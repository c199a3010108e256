"""One line about everything."""

from typing import Any

import pytest

from edged.lifecycle.briefing import Briefing
from edged.lifecycle.status import ModelStatus


def model(name: str, state: Any, **changed: Any) -> ModelStatus:
    return ModelStatus(
        model=name, state=state, kind="generate", strategy="stream", load_at_start=True, **changed
    )


def test_a_load_is_told_with_its_rate() -> None:
    now_s = 100.0
    briefing = Briefing(lambda: now_s)

    def line(done: int, **changed: Any) -> str:
        status = model("smollm2", "loading", bytes_done=done, bytes_total=98_400_000, **changed)
        return briefing.line([status])

    assert line(5_700_000) == "loading smollm2 6 % (5.7 of 98.4 MB)"
    now_s = 101.0
    assert line(23_900_000, remaining_s=4.09) == (
        "loading smollm2 24 % (23.9 of 98.4 MB, 18.2 MB/s, 4 s left)"
    )
    for done, at_s in ((42_100_000, 102.0), (60_300_000, 103.0), (60_300_000, 106.5)):
        now_s = at_s
        last = line(done)
    assert last == "loading smollm2 61 % (60.3 of 98.4 MB, 0.0 MB/s)", "the rate is of the last seconds"
    now_s = 107.0
    assert "MB/s" not in line(1_000_000), "another load began"


def test_a_load_that_has_read_everything_tells_its_phase() -> None:
    status = model(
        "m", "loading", phase="context", bytes_done=9, bytes_total=9, prefetch_done=True, remaining_s=0.4
    )
    assert Briefing().line([status]) == "loading m (context, 0 s left)"


def test_silence_is_told_instead_of_a_time() -> None:
    status = model("m", "loading", bytes_done=1_000_000, bytes_total=4_000_000, silent_s=12.3, remaining_s=3)
    assert Briefing().line([status]) == "loading m 25 % (1.0 of 4.0 MB, nothing has moved for 12 s)"


@pytest.mark.parametrize(
    ("statuses", "line"),
    [
        ([], "no models are configured"),
        ([model("a", "ready"), model("b", "ready")], "serving a, b"),
        ([model("a", "ready", bytes_done=25, bytes_total=100)], "serving a (25 % read)"),
        ([model("a", "ready"), model("b", "loading")], "loading b; serving a"),
        ([model("a", "unloaded"), model("b", "ready")], "serving b; on demand: a"),
        ([model("a", "failed", reason="a.gguf is missing"), model("b", "ready")],
         "serving b; a failed: a.gguf is missing"),
    ],
)  # fmt: skip
def test_every_model_is_named(statuses: list[ModelStatus], line: str) -> None:
    assert Briefing().line(statuses) == line


def test_a_long_reason_is_cut() -> None:
    assert len(Briefing().line([model("a", "failed", reason="x" * 5000)])) < 200
