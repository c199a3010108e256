"""What loads took is kept between starts, whatever state the file is in."""

import logging
from pathlib import Path

import msgspec
import pytest

from edged.hw.snapshot import StorageFacts
from edged.lifecycle.calibration import MAX_DEVICES, MAX_LOADS, MAX_REPACK_GAINS, Calibration, Measurement
from edged.policy.plan import plan
from edged.policy.rate import rate_of
from edged.policy.types import LoadPlan, Measured
from tests.unit.policy.machines import gains, machine, model, plan_one, settings

LAPS = {"import_s": 0.15, "vocabulary_s": 0.2, "context_s": 0.05, "prefetch_wait_s": 1.5, "warmup_s": 0.1}


def a_plan(name: str = "smollm2", bytes_per_s: float = 40e6) -> LoadPlan:
    return plan_one(machine(bytes_per_s=bytes_per_s), model(name))


def a_measurement(
    ready_s: float = 2.3,
    device: str | None = "mmcblk0",
    size_bytes: int = 98_000_000,
    reading_s: float | None = 2.2,
    **laps: float,
) -> Measurement:
    return Measurement(
        size_bytes=size_bytes,
        device=device,
        ready_s=ready_s,
        timings_s={**LAPS, **laps},
        uncached_bytes=88_000_000,
        reading_s=reading_s,
    )


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "calibration.json"


def test_a_runner_that_was_there_before_says_nothing_of_how_long_starting_one_takes(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement(ready_s=1.9, import_s=0.0))
    assert calibration.measured().spawn_s is None


def test_what_was_measured_comes_back(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement())
    calibration.record_first_answer(a_plan(), 2.4)
    calibration.store(calibration.encoded())
    again = Calibration.load(path)
    (load,) = again.loads
    assert (load.ready_s, load.first_answer_s, load.strategy) == (2.3, 2.4, "warm")
    assert load.predicted_ready_s == a_plan().predicted.ready_s
    measured = again.measured()
    assert measured == calibration.measured()
    times = measured.models["/models/smollm2.gguf"]
    assert (times.load_s, times.load_repacked_s, times.context_s, times.warmup_s) == (0.2, None, 0.05, 0.1)
    assert measured.spawn_s == pytest.approx(2.3 - 0.2 - 0.05 - 1.5 - 0.1)
    assert measured.bytes_per_s == {"mmcblk0": pytest.approx(88_000_000 / 2.2)}
    assert [entry.name for entry in path.parent.iterdir()] == ["calibration.json"]


def test_the_second_start_predicts_better_than_the_first(path: Path) -> None:
    """A slow board: everything takes five times as long as the defaults say."""
    board = machine(cached_share=1.0)
    truth_s = 5.0
    first = plan_one(board, model("smollm2", strategy="warm"))
    calibration = Calibration.load(path)
    laps = {"import_s": 0.9, "vocabulary_s": 1.6, "context_s": 0.7, "prefetch_wait_s": 0.0, "warmup_s": 0.8}
    calibration.record(
        first, Measurement(size_bytes=1, device="mmcblk0", ready_s=truth_s, timings_s=laps, uncached_bytes=0)
    )
    calibration.store(calibration.encoded())
    learnt = Calibration.load(path).measured()
    second = plan_one(board, model("smollm2", strategy="warm"), measured=learnt)
    assert first.predicted.ready_s is not None
    assert second.predicted.ready_s is not None
    assert abs(second.predicted.ready_s - truth_s) < 0.05
    assert abs(first.predicted.ready_s - truth_s) > 3


def test_a_quicker_load_counts_at_once_and_a_slower_one_a_little(path: Path) -> None:
    calibration = Calibration.load(path)
    for vocabulary_s, kept_s in ((1.0, 1.0), (0.2, 0.2), (1.2, 0.4)):
        calibration.record(a_plan(), a_measurement(vocabulary_s=vocabulary_s))
        assert calibration.measured().models["/models/smollm2.gguf"].load_s == pytest.approx(kept_s)
    assert len(calibration.loads) == 1


def _with_memory(found: LoadPlan, more_bytes: int) -> Measurement:
    """A load whose runner had this much more anonymous memory than predicted when it was ready."""
    anon_bytes = found.predicted.loaded_anon_bytes + more_bytes
    return msgspec.structs.replace(a_measurement(), anon_bytes=anon_bytes)


def test_memory_is_predicted_by_what_an_earlier_load_took(path: Path) -> None:
    """Whatever the settings: what was off is the part that does not depend on them."""
    first, more_bytes = a_plan(), 10 << 20
    calibration = Calibration.load(path)
    calibration.record(first, _with_memory(first, more_bytes))
    calibration.store(calibration.encoded())
    again = Calibration.load(path)
    (load,) = again.loads
    assert load.predicted_anon_bytes == first.predicted.loaded_anon_bytes
    assert load.anon_bytes == first.predicted.loaded_anon_bytes + more_bytes
    board = machine(bytes_per_s=40e6)
    second = plan_one(board, model("smollm2"), measured=again.measured())
    assert second.predicted.anon_bytes == first.predicted.anon_bytes + more_bytes
    smaller = model("smollm2", n_ctx=1024)
    unmeasured, measured = (
        plan_one(board, smaller, measured=known).predicted for known in (Measured(), again.measured())
    )
    assert measured.anon_bytes == unmeasured.anon_bytes + more_bytes
    again.record(second, _with_memory(second, 0))  # as predicted now: nothing changes
    assert again.measured().models[first.path].base_bytes == second.predicted.base_bytes


def test_more_memory_counts_at_once_and_less_of_it_a_little(path: Path) -> None:
    found, calibration = a_plan(), Calibration.load(path)
    known_bytes = found.predicted.base_bytes
    for more_bytes, expected_bytes in ((0, 0), (5 << 20, 5 << 20), (0, 4 << 20)):
        calibration.record(found, _with_memory(found, more_bytes))
        base_bytes = calibration.measured().models[found.path].base_bytes
        assert base_bytes == known_bytes + expected_bytes


def test_a_runner_that_was_swapped_out_or_pins_copies_tells_nothing_of_memory(path: Path) -> None:
    found, calibration = a_plan(), Calibration.load(path)
    calibration.record(found, _with_memory(found, -found.predicted.base_bytes // 2))
    pinning = msgspec.structs.replace(found, mlock_bytes=1 << 20)
    calibration.record(pinning, _with_memory(found, 1 << 20))
    calibration.record(found, a_measurement())  # no figure
    assert calibration.measured().models[found.path].base_bytes is None


def test_what_repacking_gains_is_kept_and_bounded(path: Path) -> None:
    calibration = Calibration.load(path)
    (gain,) = gains(machine().cpu, Q4_K=2.0).values()
    calibration.record_repack_gain("a", gain)
    calibration.store(calibration.encoded())
    assert Calibration.load(path).measured().repack_gains == {"a": gain}
    for number in range(2 * MAX_REPACK_GAINS):
        calibration.record_repack_gain(f"b{number}", gain)
    kept = list(calibration.measured().repack_gains)
    assert (len(kept), kept[-1]) == (MAX_REPACK_GAINS, f"b{2 * MAX_REPACK_GAINS - 1}")


def test_repacked_loads_are_kept_apart(path: Path) -> None:
    calibration = Calibration.load(path)
    repacked = plan_one(machine(), model("gemma", repack=True))
    assert repacked.repack
    calibration.record(repacked, a_measurement(vocabulary_s=3.0))
    times = calibration.measured().models["/models/gemma.gguf"]
    assert (times.load_s, times.load_repacked_s) == (None, 3.0)


def test_times_of_several_strategies_complete_each_other(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement())
    streamed = a_plan(bytes_per_s=2e6)
    assert streamed.strategy == "stream"
    laps = {name: lap for name, lap in LAPS.items() if name not in ("warmup_s", "prefetch_wait_s")}
    calibration.record(
        streamed,
        Measurement(
            size_bytes=98_000_000, device="mmcblk0", ready_s=0.5, timings_s={**laps, "vocabulary_s": 0.1}
        ),
    )
    times = calibration.measured().models["/models/smollm2.gguf"]
    assert (times.load_s, times.warmup_s) == (0.1, 0.1)
    assert [load.strategy for load in calibration.loads] == ["warm", "stream"]


def test_another_file_in_its_place_starts_anew(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement(vocabulary_s=0.1))
    calibration.record(a_plan(), a_measurement(vocabulary_s=0.9, size_bytes=5))
    assert calibration.measured().models["/models/smollm2.gguf"].load_s == 0.9


@pytest.mark.parametrize(
    "measurement",
    [
        a_measurement(device=None),
        a_measurement(reading_s=None),  # it was ready before it was read
        a_measurement(reading_s=0.05),  # too soon to be timed
        a_measurement(reading_s=float("nan")),
        msgspec.structs.replace(a_measurement(), uncached_bytes=4096),
        msgspec.structs.replace(a_measurement(), uncached_bytes=None),
    ],
)
def test_no_rate_from_a_load_that_says_nothing_of_the_storage(path: Path, measurement: Measurement) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), measurement)
    assert calibration.measured().bytes_per_s == {}


def test_a_remembered_rate_ends_with_a_load_that_was_faster_without_waiting(path: Path) -> None:
    """A faster disk in place of the old one: its loads are too fast to be timed, none leaves a rate."""
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement(reading_s=0.5))
    remembered = calibration.measured().bytes_per_s["mmcblk0"]

    calibration.record(
        a_plan(), msgspec.structs.replace(a_measurement(reading_s=0.1), uncached_bytes=9 << 20)
    )
    assert calibration.measured().bytes_per_s == {"mmcblk0": remembered}  # which may have been as fast
    calibration.record(a_plan(), a_measurement(reading_s=0.1))
    assert calibration.measured().bytes_per_s == {}


def test_a_rate_is_learnt_over_starts_and_given_up_when_the_card_is_another(path: Path) -> None:
    def start(probed: float, reading_s: float) -> float | None:
        """One start of the daemon: the rate that it plans with, then what its load shows."""
        calibration = Calibration.load(path)
        storage = StorageFacts(
            path="/m", device="mmcblk0", sequential_bytes_per_s=probed, measured_bytes=8_000_000
        )
        planned = rate_of(storage, calibration.measured()).bytes_per_s
        calibration.record(a_plan(), a_measurement(reading_s=reading_s))
        calibration.store(calibration.encoded())
        return planned

    assert start(probed=30e6, reading_s=4.4) == 30e6
    assert start(probed=30e6, reading_s=4.4) == pytest.approx(20e6)  # what the load got: 88 MB in 4.4 s
    assert start(probed=90e6, reading_s=1.1) == 90e6  # another card: the probe denies what was learnt
    assert start(probed=65e6, reading_s=1.1) == pytest.approx(80e6)  # which has been replaced since
    assert start(probed=110e6, reading_s=0.1) == pytest.approx(80e6)
    assert start(probed=110e6, reading_s=0.1) == 110e6  # that load was faster than 80 MB/s


def test_a_stream_that_is_ready_before_it_is_read_says_nothing_of_the_rate(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement())
    before = calibration.measured().bytes_per_s
    laps = {name: lap for name, lap in LAPS.items() if name != "prefetch_wait_s"}
    streamed = Measurement(
        size_bytes=1, device="mmcblk0", ready_s=0.3, timings_s=laps, uncached_bytes=88_000_000
    )
    calibration.record(a_plan(), streamed)
    assert calibration.measured().bytes_per_s == before


def test_implausible_times_are_not_kept(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record(a_plan(), a_measurement(float("nan"), vocabulary_s=-1.0, context_s=float("inf")))
    calibration.record_first_answer(a_plan(), -1.0)
    calibration.store(calibration.encoded())
    (load,) = Calibration.load(path).loads
    assert (load.ready_s, load.first_answer_s, load.load_s, load.context_s) == (None, None, None, None)


def test_a_prediction_beyond_what_the_file_holds_does_not_damage_it(path: Path) -> None:
    """Storage that gives a few bytes a second: reading takes weeks."""
    calibration = Calibration.load(path)
    crawling = a_plan(bytes_per_s=5.0)
    assert (crawling.predicted.first_answer_s or 0.0) > 1e6
    calibration.record(crawling, a_measurement())
    calibration.record_first_answer(crawling, 2.4)
    calibration.store(calibration.encoded())
    (load,) = Calibration.load(path).loads
    assert (load.predicted_first_answer_s, load.first_answer_s) == (None, 2.4)


def test_a_first_answer_without_a_load_is_nothing(path: Path) -> None:
    calibration = Calibration.load(path)
    calibration.record_first_answer(a_plan(), 1.0)
    assert calibration.loads == ()


def test_it_stays_small(path: Path) -> None:
    calibration = Calibration.load(path)
    for number in range(MAX_LOADS + 10):
        (found,) = plan(machine(), [model(f"m{number}", model("smollm2").header)], settings())
        calibration.record(found, a_measurement(device=f"sd{number}"))
    assert len(calibration.loads) == MAX_LOADS
    assert calibration.loads[-1].path == f"/models/m{MAX_LOADS + 9}.gguf"
    rates = calibration.measured().bytes_per_s
    assert len(rates) == MAX_DEVICES
    assert list(rates)[-1] == f"sd{MAX_LOADS + 9}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version": 2}',
        b'{"spawn_s": -1}',
        b'{"spawn_s": 1e999}',
        b'{"spawn_s": "soon"}',
        b'{"bytes_per_s": {"sda": 0}}',
        b'{"loads": [{"path": "x"}]}',
        b"[" * 100_000,
        b" " * (1 << 20) + b"{}",
    ],
)
def test_a_damaged_file_is_replaced(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        calibration = Calibration.load(path)
    assert f"{path} is damaged and will be replaced" in caplog.text
    assert calibration.measured() == Measured()
    calibration.record(a_plan(), a_measurement())
    calibration.store(calibration.encoded())
    assert len(Calibration.load(path).loads) == 1


def test_a_missing_file_is_nothing_to_warn_about(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Calibration.load(path).measured() == Measured()
    assert not caplog.records


def test_a_file_that_cannot_be_read_or_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = Calibration.load(tmp_path)  # a folder
    assert "cannot be read" in caplog.text
    calibration.store(calibration.encoded())
    assert "cannot be written" in caplog.text
    assert list(tmp_path.iterdir()) == []
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    caplog.clear()
    unwritable = Calibration(in_the_way / "calibration.json")
    unwritable.store(unwritable.encoded())
    assert "cannot be written" in caplog.text
