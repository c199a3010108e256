import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.residency import Residency, Run, residency
from edged.hw.sampling import Samples, _without_end, _without_start, random_offsets, sample

MIB = 1 << 20


def look(path: Path) -> Residency:
    file = os.open(path, os.O_RDONLY)
    try:
        found = residency(file, time.monotonic() + 60)
    finally:
        os.close(file)
    assert found is not None
    return found


def test_reads_what_is_uncached_and_leaves_it_cached(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 12 * MIB)
    before, samples = look(path), Samples()

    sample(path, before.uncached, 0.25, samples)

    after = look(path)
    measured = samples.n_bytes / (12 * MIB)
    assert not samples.bypassed_cache
    assert len(samples.latencies) > 0
    assert measured > 0
    assert after.cached_share - before.cached_share == pytest.approx(measured, abs=0.02)


def test_a_cached_file_is_read_past_the_cache(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 8 * MIB + 1000)
    path.read_bytes()
    samples = Samples()

    sample(path, look(path).uncached, 0.25, samples)

    assert samples.bypassed_cache
    assert samples.n_bytes > 0
    assert look(path).cached_share > 0.9


def test_without_time_it_reads_at_most_once(cold_file: Callable[[str, int], Path]) -> None:
    path, samples = cold_file("model.gguf", 8 * MIB), Samples()

    sample(path, look(path).uncached, 0.0, samples)

    assert len(samples.reads) <= 1


def test_a_file_that_became_shorter_ends_the_samples(cold_file: Callable[[str, int], Path]) -> None:
    path, samples = cold_file("model.gguf", 8 * MIB), Samples()
    uncached = look(path).uncached
    os.truncate(path, MIB)

    sample(path, uncached, 0.25, samples)

    assert samples.n_bytes <= MIB


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        sample(tmp_path / "missing", (), 0.25, Samples())


runs = st.lists(st.tuples(st.integers(1, 100), st.integers(16, 5000)), max_size=20).map(
    lambda pairs: [
        Run(4096 * (sum(a + b for a, b in pairs[:i]) + pairs[i][0]), 4096 * pairs[i][1])
        for i in range(len(pairs))
    ]
)


@given(runs)
def test_random_offsets_lie_in_the_runs(within: list[Run]) -> None:
    for offset in random_offsets(within, 8):
        assert any(run.offset <= offset and offset + 4096 <= run.offset + run.length for run in within)


@given(runs, st.integers(0, 1 << 24))
def test_what_is_read_and_what_is_left_share_nothing(within: list[Run], n_bytes: int) -> None:
    total = sum(run.length for run in within)
    first, rest = _without_end(within, n_bytes), _without_start(within, n_bytes)

    assert sum(run.length for run in first) == total - min(n_bytes, total // 2)
    assert sum(run.length for run in rest) == max(0, total - n_bytes)
    for run in (*first, *rest):
        assert any(r.offset <= run.offset and run.offset + run.length <= r.offset + r.length for r in within)


def test_small_reads_find_something_uncached_in_a_small_file(cold_file: Callable[[str, int], Path]) -> None:
    path, samples = cold_file("model.gguf", 5 * MIB), Samples()

    sample(path, look(path).uncached, 0.25, samples)

    assert len(samples.latencies) > 0
    assert samples.n_bytes <= 4 * MIB
