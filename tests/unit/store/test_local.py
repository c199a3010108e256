import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import local
from edged.store.job import Job, LocalFile, Wanted
from tests.unit.store.samples import wanted_file

_CONTENT = b"weights" * 1000
JobFor = Callable[[Wanted], Job]


def test_a_file_is_copied(tmp_path: Path, job_for: JobFor) -> None:
    source = LocalFile(tmp_path / "own.gguf")
    source.path.write_bytes(_CONTENT)
    job = job_for(wanted_file(_CONTENT, pinned=False))
    local.fetch(source, job)
    assert job.work.file("model").read_bytes() == _CONTENT
    assert source.path.read_bytes() == _CONTENT


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path, job_for: JobFor) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "pipe.gguf", tmp_path, Path("/dev/zero")):
        with pytest.raises(PullError, match="not a plain file"):
            local.fetch(LocalFile(path), job_for(wanted_file(_CONTENT)))


def test_a_file_that_is_gone_or_different_is_refused(tmp_path: Path, job_for: JobFor) -> None:
    source = LocalFile(tmp_path / "own.gguf")
    with pytest.raises(PullError, match="No such file"):
        local.fetch(source, job_for(wanted_file(_CONTENT)))
    source.path.write_bytes(_CONTENT[::-1])
    with pytest.raises(PullError, match="sha256"):
        local.fetch(source, job_for(wanted_file(_CONTENT)))
