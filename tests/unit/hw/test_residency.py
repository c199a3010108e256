import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw import residency as module
from edged.hw.residency import Residency, Run, cached_bytes, effective_capabilities, residency, uncached_runs

MIB = 1 << 20


def look(path: Path, seconds: float = 60.0) -> Residency | None:
    file = os.open(path, os.O_RDONLY)
    try:
        return residency(file, time.monotonic() + seconds)
    finally:
        os.close(file)


def test_cold_then_read_then_cold_again(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 4 * MIB + 123)

    cold = look(path)
    path.read_bytes()
    warm = look(path)

    assert cold is not None
    assert warm is not None
    assert cold.cached_share < 0.1
    assert sum(run.length for run in cold.uncached) > 3 * MIB
    assert warm.cached_share > 0.95, "all of it, but for what the kernel reclaims meanwhile"


def test_looking_reads_nothing(cold_file: Callable[[str, int], Path]) -> None:
    path = cold_file("model.gguf", 2 * MIB)

    assert look(path) == look(path)


def test_runs_end_with_the_file(cold_file: Callable[[str, int], Path]) -> None:
    size = 2 * MIB + 5
    cold = look(cold_file("model.gguf", size))

    assert cold is not None
    assert max(run.offset + run.length for run in cold.uncached) <= size


def test_a_file_of_several_chunks(
    cold_file: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cold_file("model.gguf", 3 * MIB + (128 << 10) + 77)
    whole = look(path)
    monkeypatch.setattr(module, "_CHUNK_BYTES", MIB)

    parts = look(path)

    assert whole is not None
    assert parts is not None
    assert parts.cached_share == whole.cached_share
    assert sum(run.length for run in parts.uncached) == sum(run.length for run in whole.uncached)


def test_an_empty_file_has_no_share(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert look(tmp_path / "empty") is None


def test_unknown_when_the_time_is_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    assert look(tmp_path / "file", seconds=-1.0) is None


def test_all_cached_is_not_believed_where_the_kernel_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MIB)
    assert look(path) == Residency(cached_share=1.0, uncached=())

    monkeypatch.setattr(module, "_may_ask", lambda _: False)

    assert look(path) is None


@pytest.mark.parametrize(
    ("status", "bits"),
    [
        ("Name:\tx\nCapEff:\t000001ffffffffff\n", 0x1FFFFFFFFFF),
        ("CapEff:\tx", 0),
        ("", 0),
    ],
)
def test_effective_capabilities(status: str, bits: int) -> None:
    assert effective_capabilities(status) == bits


@given(st.lists(st.booleans(), max_size=200))
def test_runs_are_exactly_the_longer_stretches_of_zeros(cached: list[bool]) -> None:
    page = 64 << 10  # one page is then long enough
    pages = bytes(cached)

    runs = list(uncached_runs(pages, page))

    found = {index for run in runs for index in range(run.offset // page, (run.offset + run.length) // page)}
    assert found == {index for index, value in enumerate(cached) if not value}
    assert all(later.offset > run.offset + run.length for run, later in pairwise(runs))


def test_short_runs_are_left_out() -> None:
    pages = b"\0" * 15 + b"\1" + b"\0" * 16 + b"\1"

    assert list(uncached_runs(pages, 4096)) == [Run(16 * 4096, 16 * 4096)]


def test_the_cached_bytes_of_a_file_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(bytes(1 << 20))
    assert cached_bytes(str(file), time.monotonic() + 10) == 1 << 20
    assert cached_bytes(str(tmp_path / "missing"), time.monotonic() + 10) is None
