import os
from pathlib import Path

import pytest

from edged.errors import ModelFileError
from edged.lifecycle.model_file import check_file
from edged.store import receipt
from edged.store.receipt import Receipt
from tests.gguf_files import write_tiny_gguf
from tests.plans import fake_plan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A pulled model whose time has changed since."""
    path = write_tiny_gguf(tmp_path / "m.gguf")
    facts = path.stat()
    receipt.write(
        path,
        Receipt(
            sha256=receipt.sha256_of(path),
            size_bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            origin="m",
            source="a test",
        ),
    )
    os.utime(path, ns=(0, 0))
    return path


def test_the_same_content_at_another_time_is_noted(model: Path) -> None:
    assert receipt.changed_since_pull(model)
    check_file(fake_plan(path=str(model)))
    assert not receipt.changed_since_pull(model)


def test_where_nothing_may_be_noted_it_loads_all_the_same(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(receipt, "write", refuse)
    check_file(fake_plan(path=str(model)))


def test_other_content_is_refused(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(ModelFileError, match="is damaged"):
        check_file(fake_plan(path=str(model)))
