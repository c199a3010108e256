"""The arithmetic of predictions."""

import msgspec
import pytest

from edged.hw.snapshot import HardwareSnapshot
from edged.policy.settings import levels
from edged.policy.timing import Company, Reading, in_turn, reading_of, timing_of
from edged.policy.types import LoadTimes, Measured, Strategy
from tests.unit.policy.machines import machine, model, settings

MODEL = model("smollm2")
FULL = levels(MODEL, "generate", ())[0]
# Half a second until it could answer, a tenth of a second for each batch.
MEASURED = Measured(spawn_s=0.2, models={MODEL.path: LoadTimes(load_s=0.2, context_s=0.1, warmup_s=0.1)})

REPACKED = Measured(
    spawn_s=0.2, models={MODEL.path: LoadTimes(load_repacked_s=0.2, context_s=0.1, warmup_s=0.1)}
)


def reading(uncached_bytes: int, bytes_per_s: float | None = 10e6) -> Reading:
    """Faults read at half the rate of a sequential reader, which is not slow."""
    return Reading(
        wanted_bytes=100_000_000,
        uncached_bytes=uncached_bytes,
        cached_is_known=True,
        bytes_per_s=bytes_per_s,
        fault_bytes_per_s=None if bytes_per_s is None else bytes_per_s / 2,
    )


@pytest.mark.parametrize(
    ("strategy", "uncached_bytes", "ready_s", "first_answer_s"),
    [
        ("warm", 0, 0.6, 0.7),
        ("warm", 3_000_000, 0.6, 0.7),  # reading hides behind starting
        ("warm", 20_000_000, 2.1, 2.2),
        ("locked", 20_000_000, 2.1, 2.2),
        ("stream", 20_000_000, 0.5, 2.1),
        ("on_demand", 20_000_000, 0.5, 2.1),
        ("lazy", 20_000_000, 0.5, 4.6),  # nothing reads before the first request
        ("lazy", 0, 0.5, 0.6),
    ],
)
def test_timing(strategy: Strategy, uncached_bytes: int, ready_s: float, first_answer_s: float) -> None:
    found = timing_of(MODEL, strategy, FULL, reading(uncached_bytes), settings(), MEASURED)
    assert found.ready_s == pytest.approx(ready_s)
    assert found.first_answer_s == pytest.approx(first_answer_s)


def test_without_prefetch_or_lazy_map() -> None:
    found = timing_of(MODEL, "warm", FULL, reading(20_000_000), settings(prefetch=False), MEASURED)
    assert found.ready_s == pytest.approx(0.5 + 4.0 + 0.1)
    # Without the lazy map llama.cpp reads all of the file before anything else.
    found = timing_of(MODEL, "on_demand", FULL, reading(20_000_000), settings(lazy_available=False), MEASURED)
    assert found.ready_s == pytest.approx(2.0)


def test_readers_take_turns_the_shortest_first() -> None:
    long, short, cached, equal = in_turn(
        [reading(60_000_000), reading(20_000_000), reading(0), reading(60_000_000)]
    )
    assert [one.sequential_s for one in (long, short, cached, equal)] == pytest.approx([8.0, 2.0, 0.0, 14.0])
    assert [one.others_follow for one in (long, short, cached, equal)] == [True, True, True, False]
    assert in_turn([reading(60_000_000)]) == [reading(60_000_000)]


def test_rows_that_are_picked_wait_for_another_reader_at_each_batch() -> None:
    rows = msgspec.structs.replace(reading(20_000_000), dragged_bytes=4096)
    first, _ = in_turn([rows, reading(60_000_000)])
    alone = timing_of(MODEL, "warm", FULL, rows, settings(), MEASURED)
    beside = timing_of(MODEL, "warm", FULL, first, settings(), MEASURED)
    assert alone.first_answer_s is not None
    assert beside.first_answer_s == pytest.approx(alone.first_answer_s + 2 * (1 << 20) / 10e6)


def test_defaults_grow_when_cores_are_few_and_what_was_measured_does_not() -> None:
    def ready_s(company: Company, measured: Measured) -> float:
        found = timing_of(MODEL, "stream", FULL, reading(0), settings(), measured, company).ready_s
        assert found is not None
        return found

    alone, crowded = Company(cores=2), Company(n_loading=4, cores=2)
    assert ready_s(alone, Measured()) == ready_s(Company(), Measured())
    assert ready_s(crowded, Measured()) > 2 * ready_s(alone, Measured())
    assert ready_s(crowded, MEASURED) == ready_s(alone, MEASURED)


def test_what_is_cached_is_what_a_load_wants() -> None:
    embedder = model("minilm")
    half = reading_of(machine(cached_share=0.5), embedder, "embed", settings(), Measured())
    rest = half.wanted_bytes - embedder.header.size_bytes // 2
    assert half.uncached_bytes == pytest.approx(max(0, rest), abs=1)
    assert half.wanted_bytes < embedder.header.size_bytes
    nothing = reading_of(machine(cached_share=1.0), embedder, "embed", settings(), Measured())
    assert nothing.uncached_bytes == 0


def test_faults_drag_along_what_lies_around_them() -> None:
    with_table = msgspec.structs.replace(reading(20_000_000), dragged_bytes=5_000_000)
    assert with_table.faulting_s == pytest.approx(5.0)
    assert with_table.sequential_s == pytest.approx(2.0)
    assert msgspec.structs.replace(with_table, uncached_bytes=0).faulting_s == 0.0
    found = reading_of(machine(), model("minilm"), "embed", settings(), Measured())
    assert found.dragged_bytes == 128 << 10
    assert reading_of(machine(), MODEL, "generate", settings(), Measured()).dragged_bytes == 0


def test_an_unknown_rate_matters_only_when_something_must_be_read() -> None:
    found = timing_of(MODEL, "warm", FULL, reading(1, None), settings(), MEASURED)
    assert (found.ready_s, found.first_answer_s) == (None, None)
    found = timing_of(MODEL, "stream", FULL, reading(1, None), settings(), MEASURED)
    assert found.ready_s == pytest.approx(0.5)
    found = timing_of(MODEL, "warm", FULL, reading(0, None), settings(), MEASURED)
    assert found.ready_s == pytest.approx(0.6)


def test_where_faults_are_slow_a_pass_waits_for_the_reader() -> None:
    disk = msgspec.structs.replace(reading(20_000_000), fault_bytes_per_s=1e6)
    assert disk.faults_are_slow
    assert not reading(20_000_000).faults_are_slow
    assert not reading(20_000_000, None).faults_are_slow
    stream = timing_of(MODEL, "stream", FULL, disk, settings(), MEASURED)
    assert stream.ready_s == pytest.approx(0.5)
    assert stream.first_answer_s == pytest.approx(2.1)
    repacked = levels(model("gemma", repack=True), "generate", ("avx2",))[0]
    assert repacked.settings.repack
    for found, copied_s in ((reading(20_000_000), 0.0), (disk, 0.5)):
        ready_s = timing_of(MODEL, "warm", repacked, found, settings(), REPACKED).ready_s
        assert ready_s == pytest.approx(2.0 + copied_s + 0.1)


def test_every_fault_pays_the_latency() -> None:
    slow = machine(bytes_per_s=40e6)
    storage = msgspec.structs.replace(slow.storage[0], random_latency_s=0.01, readahead_bytes=32_000)
    found = reading_of(
        msgspec.structs.replace(slow, storage=(storage,)), MODEL, "generate", settings(), Measured()
    )
    assert found.bytes_per_s == 40e6
    assert found.fault_bytes_per_s == pytest.approx(32_000 / (0.01 + 0.0008))


def test_nothing_is_known_of_a_file_that_was_not_probed() -> None:
    empty: HardwareSnapshot = msgspec.structs.replace(machine(), storage=(), files=())
    found = reading_of(empty, MODEL, "generate", settings(), Measured())
    assert found.uncached_bytes == found.wanted_bytes > 0
    assert (found.bytes_per_s, found.fault_bytes_per_s, found.cached_is_known) == (None, None, False)


def test_without_the_lazy_map_the_whole_file_is_read() -> None:
    minilm = model("minilm")
    lazily = reading_of(machine(), minilm, "embed", settings(), Measured())
    wholly = reading_of(machine(), minilm, "embed", settings(lazy_available=False), Measured())
    assert wholly.wanted_bytes == minilm.header.size_bytes
    assert lazily.wanted_bytes < wholly.wanted_bytes - 10_000_000
