"""What models hold."""

import mmap
import os
import time
from pathlib import Path

import pytest

from edged.lifecycle.holding import Holding, holding_of

PAGES = 8192  # the kernel maps some of the neighbours of what is touched, up to 2 MiB of them


def soon() -> float:
    return time.monotonic() + 20


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(PAGES * mmap.PAGESIZE))  # just written, so cached
    return path


def test_pages_of_the_file_are_hot_where_they_are_in_use_else_cold(file: Path) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapping:
        mapping[0] = 1
        held = holding_of(str(file), os.getpid(), soon())
    assert held.hot_bytes
    assert held.cold_bytes
    assert held.hot_bytes + held.cold_bytes == PAGES * mmap.PAGESIZE
    assert (held.file_bytes, held.cached_share) == (PAGES * mmap.PAGESIZE, 1.0)
    assert held.anon_bytes
    assert held.swapped_bytes is not None


def test_a_model_without_a_runner_may_still_be_cached(file: Path) -> None:
    held = holding_of(str(file), None, soon())
    assert held == Holding(
        hot_bytes=0, cold_bytes=PAGES * mmap.PAGESIZE, file_bytes=PAGES * mmap.PAGESIZE, cached_share=1.0
    )


def test_what_cannot_be_known_is_not_made_up(file: Path, tmp_path: Path) -> None:
    assert holding_of(str(tmp_path / "gone.gguf"), None, soon()) == Holding(hot_bytes=0)
    nobody = holding_of(str(file), 1, soon(), tmp_path)
    assert (nobody.anon_bytes, nobody.hot_bytes, nobody.cold_bytes) == (None, None, None)
    late = holding_of(str(file), None, time.monotonic() - 1)
    assert (late.cached_share, late.cold_bytes) == (None, None)
