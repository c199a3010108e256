"""What regret makes of its measurements, on invented ones."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bench import device_memory, grid, outcomes, quiet, regret
from tests.bench.models import BenchModel
from tests.bench.outcomes import Outcome, Prediction

BOTH = "minilm + smollm2"


def outcome(asked: str, way: str, answer_s: float | None, **more: Any) -> Outcome:
    """A start of minilm on sd20; ready half a second before its answer."""
    fields: dict[str, Any] = {"profile": "sd20", "cache": "cold", "models": "minilm", "learnt": False}
    ready_s = None if answer_s is None else answer_s - 0.5
    return Outcome(asked=asked, way=way, ready_s=ready_s, answer_s=answer_s, **(fields | more))


def test_regret_is_against_the_best_way_by_medians_of_all_starts_of_a_way() -> None:
    found = outcomes.verdicts(
        [
            outcome("auto", "warm", 2.0),
            outcome("warm", "warm", 2.4),
            outcome("stream", "stream", 1.9),
            outcome("stream", "stream", 2.1),
            outcome("lazy", "lazy", 9.0),
        ]
    )
    (verdict,) = found
    assert (verdict.chosen, verdict.best, verdict.n_ways) == ("warm", "stream", 3)
    assert verdict.chosen_s == pytest.approx(2.2)
    assert verdict.regret == pytest.approx(0.1)
    assert outcomes.regret_rows(found)[0][-1] == "10.0%"


def test_a_way_that_failed_is_never_the_best_and_a_cell_without_a_choice_has_no_verdict() -> None:
    failed = outcome("stream", "stream", None, failure="killed")
    (verdict,) = outcomes.verdicts([outcome("auto", "warm", 2.0), failed])
    assert verdict.best == "warm"
    assert outcomes.verdicts([outcome("warm", "warm", 2.0)]) == []
    assert outcomes.verdicts([outcome("auto", "auto", None, failure="killed")]) == []


def test_cells_and_kinds_of_start_are_judged_apart() -> None:
    learnt = outcome("auto", "stream", 1.0, learnt=True)
    cached = outcome("auto", "warm", 0.6, cache="cached")
    found = outcomes.verdicts([outcome("auto", "warm", 2.0), learnt, cached])
    assert [(one.cell[2], one.learnt, one.chosen) for one in found] == [
        ("cold", False, "warm"),
        ("cold", True, "stream"),
        ("cached", False, "warm"),
    ]


def test_disturbed_starts_count_only_where_there_are_no_others() -> None:
    quiet_one = outcome("warm", "warm", 1.0)
    disturbed = outcome("warm", "warm", 3.0, others_cores=1.5)
    only_disturbed = outcome("lazy", "lazy", 4.0, others_cores=1.5)
    assert outcomes.settled([disturbed, quiet_one, only_disturbed]) == [quiet_one, only_disturbed]


def test_prediction_errors_are_of_one_kind_of_start_and_of_known_values() -> None:
    prediction = Prediction(
        predicted_ready_s=1.0,
        measured_ready_s=2.0,
        predicted_first_answer_s=None,
        measured_first_answer_s=2.0,
    )
    found = [outcome("warm", "warm", 2.0, predictions={"minilm": prediction})]
    assert outcomes.prediction_errors(found, "ready", learnt=False) == [0.5]
    assert outcomes.prediction_errors(found, "ready", learnt=True) == []
    assert outcomes.prediction_errors(found, "first_answer", learnt=False) == []
    assert outcomes.error_rows(found)[0][-4:] == ["50 %", "-", "-", "-"]


def test_a_way_becomes_settings() -> None:
    way = {"minilm": "stream", "smollm2": "warm+repack"}
    assert grid.asked_of(way) == "stream, warm+repack"
    assert regret.settings_of(way) == {
        "minilm": {"strategy": "stream", "repack": False},
        "smollm2": {"strategy": "warm", "repack": True},
    }


@pytest.fixture(name="found")
def _found(monkeypatch: pytest.MonkeyPatch) -> dict[str, BenchModel]:
    """Models of which the second can be repacked."""
    monkeypatch.setattr(grid, "read_header", lambda file: file.stem)
    monkeypatch.setattr(grid, "repacked_tensors", lambda header, _: header == "smollm2")
    names = ("minilm", "smollm2")
    return {name: BenchModel(id=name, file=Path(f"/models/{name}.gguf"), kind="embed") for name in names}


def test_the_whole_grid_has_every_model_alone_and_together_and_cached_on_one_device(
    found: dict[str, BenchModel],
) -> None:
    cells = grid.whole(["sd20", "sd40"], found)
    assert [cell.key for cell in cells] == [
        *(
            (profile, models, "cold")
            for profile in ("sd20", "sd40")
            for models in ("minilm", "smollm2", BOTH)
        ),
        ("sd40", "minilm", "cached"),
        ("sd40", "smollm2", "cached"),
    ]


def test_ways_are_all_alone_and_what_matters_together(found: dict[str, BenchModel]) -> None:
    minilm, smollm2 = found.values()
    assert [grid.asked_of(way) for way in grid.ways([minilm])] == ["warm", "stream", "lazy"]
    assert [grid.asked_of(way) for way in grid.ways([smollm2])] == ["warm", "stream", "lazy", "warm+repack"]
    assert [grid.asked_of(way) for way in grid.ways([minilm, smollm2])] == [
        *("warm, warm", "warm, stream", "stream, warm", "stream, stream")
    ]


def test_what_is_missing_is_measured_and_each_cell_once_before_any_again(
    found: dict[str, BenchModel],
) -> None:
    cells = grid.cells(["sd20", "sd40"], ["minilm"], found)
    done: list[Outcome] = []
    seen = []
    while (task := grid.next_task(cells, done, 2)) is not None:
        seen.append((task.number, task.cell.profile))
        assert [grid.asked_of(way) for way in task.ways] == ["auto", "warm", "stream", "lazy"]
        for way in task.ways:
            for learnt in (False, True) if way is None else (False,):
                more = {"profile": task.cell.profile, "learnt": learnt}
                done.append(outcome(grid.asked_of(way), "warm", 1.0, **more))
    assert seen == [(0, "sd20"), (0, "sd40"), (1, "sd20"), (1, "sd40")]
    interrupted = grid.next_task(cells, done[:-1], 2)
    assert interrupted is not None
    assert [grid.asked_of(way) for way in interrupted.ways] == ["lazy"]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "regret.jsonl"
    assert regret.kept(results) == []
    whole = outcome("auto", "warm", 2.0)
    results.write_bytes(msgspec.json.encode(whole) + b"\n" + msgspec.json.encode(whole)[:50])
    assert regret.kept(results) == [whole]
    assert "regret.jsonl" in capsys.readouterr().err


def test_busy_time_leaves_out_idling_and_waiting_for_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    text = "cpu  100 20 30 9000 800 4 5 6 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert quiet.busy_s(text) == pytest.approx(1.65)


def test_kills_and_swap_are_read_from_both_versions_of_control_groups(tmp_path: Path) -> None:
    first, second = tmp_path / "v1", tmp_path / "v2"
    first.mkdir()
    second.mkdir()
    (first / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (first / "memory.stat").write_text("cache 10\nswap 4096\n")
    (second / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    (second / "memory.swap.current").write_text("8192\n")
    (second / "memory.stat").write_text("anon 10\n")
    assert device_memory.kills([first, second]) == 3
    assert device_memory.swapped_bytes([first, second]) == 12288
    assert device_memory.kills([tmp_path]) == device_memory.swapped_bytes([tmp_path]) == 0
