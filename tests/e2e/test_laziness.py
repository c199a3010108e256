"""Lazy is truly lazy: shown by what of the file is in the page cache, not by trust."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.hw.residency import residency
from edged.lifecycle.process import lazy_map_library
from tests.e2e.daemon import Daemon


def _cached_share(path: Path) -> float:
    with path.open("rb") as file:
        found = residency(file.fileno(), time.monotonic() + 10)
    assert found is not None
    return found.cached_share


def _make_cold(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if _cached_share(path) > 0.05:
        pytest.skip(f"{path} cannot be dropped from the page cache here (tmpfs?): laziness cannot be seen")


def test_the_lazy_map_was_built() -> None:
    """Where this fails, the package was installed without a C compiler, and the plan says so."""
    assert lazy_map_library() is not None


def test_a_lazy_load_leaves_the_file_on_storage_until_it_is_asked(
    start: Callable[..., Daemon], copied_models: Path
) -> None:
    path = copied_models / "smollm2.gguf"
    _make_cold(path)
    daemon = start("models.smollm2.strategy=lazy", folder=copied_models)
    daemon.wait_ready()
    assert _cached_share(path) < 0.5
    assert daemon.chat("hello", max_tokens=4)[0] == 200
    assert _cached_share(path) > 0.9


def test_the_first_embedding_leaves_most_of_the_token_table_on_storage(
    start: Callable[..., Daemon], copied_models: Path
) -> None:
    path = copied_models / "minilm.gguf"
    _make_cold(path)
    daemon = start("models.minilm.strategy=stream", folder=copied_models)
    assert daemon.embed("hello world")[0] == 200
    daemon.wait_until("/readyz", lambda status, _: status == 200)
    assert 0.4 < _cached_share(path) < 0.8


def test_progress_is_counted_in_bytes_of_the_file(start: Callable[..., Daemon], copied_models: Path) -> None:
    daemon = start("models.smollm2.strategy=warm", folder=copied_models)
    daemon.wait_ready()
    status = daemon.model("smollm2")
    assert status["prefetch_done"]
    assert status["bytes_done"] == status["bytes_total"]
    assert abs(status["bytes_total"] - (copied_models / "smollm2.gguf").stat().st_size) < 1 << 20
