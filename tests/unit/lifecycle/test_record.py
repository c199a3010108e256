"""What became of the plans is logged, counted and kept."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edged.config.schema import Config, Model, Seconds
from edged.config.schema import Loading as LoadingSettings
from edged.hw.snapshot import FileFacts, HardwareSnapshot
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.record import Record
from edged.lifecycle.status import Cause, Failure
from edged.policy.types import LoadPlan
from edged.runner import protocol
from edged.telemetry.metrics import Metrics
from tests.unit.policy.machines import machine, model, plan_one
from tests.unit.telemetry.test_metrics import samples

PATIENCE_S = 20.0
READY = protocol.Ready(
    n_ctx=512,
    n_embd=384,
    n_vocab=30_000,
    chat=None,
    prefetch_done=True,
    lazy_map=True,
    timings_s={
        "import_s": 0.2,
        "vocabulary_s": 0.3,
        "context_s": 0.1,
        "prefetch_wait_s": 1.0,
        "warmup_s": 0.2,
    },
    anon_bytes=1 << 20,
    reads=protocol.Reads(read_bytes=98_000_000, major_faults=7),
)


@pytest.fixture(name="record")
def _record(tmp_path: Path) -> Record:
    record = Record(Calibration.load(tmp_path / "calibration.json"))
    record.planned_on(snapshot())
    return record


def snapshot() -> HardwareSnapshot:
    found = machine()
    files = tuple(msgspec.structs.replace(file, size_bytes=98_000_000) for file in found.files)
    return msgspec.structs.replace(found, files=files)


def a_plan(ready_s: float | None = 2.0, first_answer_s: float | None = 2.5) -> LoadPlan:
    plan = plan_one(machine(), model("smollm2"))
    predicted = msgspec.structs.replace(plan.predicted, ready_s=ready_s, first_answer_s=first_answer_s)
    return msgspec.structs.replace(plan, predicted=predicted)


def counted(record: Record) -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    record.count_with(metrics)
    return samples(metrics)


def test_a_load_is_counted_phase_by_phase(record: Record) -> None:
    plan = a_plan()
    record.ready(plan, "boot", READY, 2.0)
    record.first_answer(plan, 2.2)
    record.reads(plan, protocol.Reads(read_bytes=98_500_000, major_faults=9))
    seen = counted(record)
    by_phase = ("boot", "smollm2")
    assert seen["edged_cold_start_seconds_sum", *by_phase, "mapped"] == pytest.approx(2.0 - 0.1 - 1.0 - 0.2)
    assert seen["edged_cold_start_seconds_sum", *by_phase, "ready"] == 2.0
    assert seen["edged_cold_start_seconds_sum", *by_phase, "first_token"] == 2.2
    assert seen["edged_cold_start_read_bytes_sum", *by_phase, "ready"] == 98_000_000
    assert seen["edged_cold_start_read_bytes_sum", *by_phase, "first_token"] == 98_500_000
    assert seen["edged_cold_start_major_faults_sum", *by_phase, "first_token"] == 9


def test_loads_and_unloads_are_counted_by_cause(record: Record) -> None:
    plan = a_plan()
    causes: tuple[Cause, ...] = ("demand", "evicted", "crash")
    record.unloaded(plan, "evicted")
    for cause in causes:
        record.ready(plan, cause, READY, 2.0)
        record.first_answer(plan, 2.2)
    seen = counted(record)
    assert seen["edged_unloads_total", "evicted", "smollm2"] == 1
    for cause in causes:
        assert seen["edged_cold_start_seconds_count", cause, "smollm2", "ready"] == 1
        assert seen["edged_cold_start_seconds_count", cause, "smollm2", "first_token"] == 1


def test_only_the_first_load_of_a_plan_is_held_against_it(record: Record) -> None:
    """A later load finds the file cached, of which the plan knew nothing."""
    plan = a_plan()
    record.ready(plan, "boot", READY, 3.0)
    record.first_answer(plan, 3.0)
    record.ready(plan, "crash", READY, 0.5)
    record.first_answer(plan, 0.6)
    seen = counted(record)
    assert seen["edged_prediction_error_ratio", "ready", "smollm2"] == pytest.approx(0.5)
    assert seen["edged_prediction_error_ratio", "first_answer", "smollm2"] == pytest.approx(0.2)


def test_a_new_plan_is_held_to_its_own_prediction(record: Record) -> None:
    record.ready(a_plan(ready_s=2.0), "boot", READY, 3.0)
    record.ready(a_plan(ready_s=4.0), "demand", READY, 3.0)
    assert counted(record)["edged_prediction_error_ratio", "ready", "smollm2"] == pytest.approx(-0.25)


def test_what_was_not_predicted_or_not_told_is_not_counted(record: Record) -> None:
    plan = a_plan(ready_s=None, first_answer_s=None)
    silent = msgspec.structs.replace(READY, timings_s={}, reads=None)
    record.first_answer(plan, 1.0)  # of a load that nobody has heard of
    record.reads(plan, protocol.Reads(read_bytes=1, major_faults=1))
    record.ready(plan, "boot", silent, 2.0)
    seen = counted(record)
    assert seen["edged_cold_start_seconds_count", "boot", "smollm2", "ready"] == 1
    names = {name for name, *_ in seen}
    assert "edged_prediction_error_ratio" not in names
    assert "edged_cold_start_read_bytes_count" not in names
    assert ("edged_cold_start_seconds_count", "boot", "smollm2", "mapped") not in seen


def test_loads_are_kept_for_the_next_start(record: Record, tmp_path: Path) -> None:
    plan = a_plan()
    record.ready(plan, "boot", READY, 2.0)
    record.first_answer(plan, 2.2)
    record.close()
    (load,) = Calibration.load(tmp_path / "calibration.json").loads
    assert (load.path, load.ready_s, load.first_answer_s) == (plan.path, 2.0, 2.2)
    assert record.measured().models[plan.path].context_s == 0.1


def test_a_card_that_syncs_slowly_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells of a first answer passes the next tokens on."""
    calibration = Calibration.load(tmp_path / "calibration.json")
    synced = threading.Event()
    monkeypatch.setattr(calibration, "store", lambda _raw: synced.wait(30))
    record = Record(calibration)
    record.planned_on(snapshot())
    record.ready(a_plan(), "boot", READY, 2.0)
    record.first_answer(a_plan(), 2.2)
    assert not synced.is_set()
    synced.set()
    record.close()


def test_a_file_of_unknown_size_is_not_kept(record: Record, tmp_path: Path) -> None:
    record.planned_on(msgspec.structs.replace(snapshot(), files=(FileFacts(path=a_plan().path),)))
    record.ready(a_plan(), "boot", READY, 2.0)
    assert not (tmp_path / "calibration.json").exists()


def test_a_lazy_load_without_the_lazy_map_is_told(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    plan = msgspec.structs.replace(a_plan(), strategy="lazy")
    with caplog.at_level(logging.WARNING):
        record.ready(plan, "boot", msgspec.structs.replace(READY, lazy_map=False), 2.0)
    assert "llama.cpp read the whole file at once" in caplog.text


def test_failures_are_counted_as_restarts(record: Record) -> None:
    record.failed(a_plan(), "the runner was ended by SIGKILL while ready", "crash")
    assert counted(record)["edged_restarts_total", "smollm2"] == 1


@pytest.fixture(name="pool")
def _pool(record: Record) -> Iterator[Pool]:
    """One model behind a real runner process that holds none."""
    plan = msgspec.structs.replace(a_plan(), path="fake:embed?n_embd=4&file_bytes=1000", kind="embed")
    config = Config(
        models={"smollm2": Model(file="fake:embed")}, loading=LoadingSettings(restart_backoff=Seconds(0.01))
    )
    planned = Planned(snapshot=snapshot(), plans=(plan,), problems={})
    pool = Pool(config, lambda _ahead: planned, record)
    yield pool
    pool.close()


def test_a_real_runner_process_tells_what_it_read(record: Record, pool: Pool) -> None:
    pool.start()
    handle = pool.ensure_ready("smollm2", PATIENCE_S)
    handle.embed(protocol.Embed(id=0, texts=("hello",)), deadline=float("inf"))
    pool.unload("smollm2")  # returns when everything that the runner said has been read
    seen = counted(record)
    assert seen["edged_cold_start_read_bytes_sum", "boot", "smollm2", "ready"] == 500
    assert seen["edged_cold_start_read_bytes_sum", "boot", "smollm2", "first_token"] == 1000
    assert seen["edged_cold_start_seconds_count", "boot", "smollm2", "mapped"] == 1
    assert seen["edged_cold_start_seconds_count", "boot", "smollm2", "first_token"] == 1
    assert seen["edged_prediction_error_ratio", "ready", "smollm2"] > -1


def events_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The events of the records so far, in order."""
    return [vars(record)["EVENT"] for record in caplog.records if "EVENT" in vars(record)]


def test_each_end_of_a_runner_is_an_event_of_its_own(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    ways: tuple[Failure, ...] = ("file", "crash", "hung", "memory")
    for how in ways:
        record.failed(a_plan(), "why", how)
    assert events_in(caplog) == ["model_failed", "runner_crashed", "runner_hung", "runner_oom_killed"]
    assert {vars(each)["MODEL"] for each in caplog.records} == {"smollm2"}


def test_a_model_that_is_back_is_told_from_one_that_comes_up(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        record.ready(a_plan(), "boot", READY, 2.0)
        record.ready(a_plan(), "crash", READY, 2.0)
    assert events_in(caplog) == ["model_ready", "runner_restarted"]
    assert vars(caplog.records[0])["DURATION_MS"] == 2000


@pytest.mark.parametrize(("reading_s", "said"), [(1.0, []), (100.0, ["storage_slow"])])
def test_storage_that_is_far_slower_than_expected_is_told(
    reading_s: float, said: list[str], record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    plan = a_plan()
    assert plan.predicted.read_bytes_per_s
    n_bytes = sum(piece.length for piece in plan.prefetch)
    expected_s = n_bytes / plan.predicted.read_bytes_per_s
    record.ready(
        plan, "boot", msgspec.structs.replace(READY, reading_s=reading_s * max(0.2, expected_s)), 2.0
    )
    assert events_in(caplog) == said
