"""A job for one source, without the rest of a pull around it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edged.store.job import Job, Wanted
from edged.store.work import open_work
from tests.unit.store.samples import Recorder


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def job_for(tmp_path: Path, progress: Recorder) -> Callable[[Wanted], Job]:
    """A job in an empty work folder on a disk and a machine without limits."""

    def make(wanted: Wanted) -> Job:
        work = open_work(tmp_path / "models", wanted.id, {"files": wanted.files})
        return Job(wanted, work, progress, check_disk=lambda _need: None, check_size=lambda _size: None)

    return make


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback servers are reached directly, whatever the environment says."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
