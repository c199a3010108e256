from pathlib import Path

import pytest

from edged.lifecycle import model_facts
from edged.lifecycle.model_facts import ModelFacts, ModelFiles, chat_template, digest
from edged.store import receipt
from tests.unit.store.samples import gguf_bytes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes(tmp_path))
    return path


def test_a_file_tells_what_it_is(model: Path) -> None:
    facts = ModelFiles().facts(str(model))
    assert (facts.architecture, facts.n_parameters, facts.weights) == ("llama", 64 * 256, "F32")
    assert facts.size_bytes == model.stat().st_size
    assert facts.chat_template is None


def test_a_file_is_read_once_until_it_changes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ModelFiles()
    first = files.facts(str(model))
    with monkeypatch.context() as patched:
        patched.delattr(model_facts, "read_header")
        assert files.facts(str(model)) is first
    model.write_bytes(gguf_bytes(tmp_path, rows=32))
    assert files.facts(str(model)).n_parameters == 32 * 256


@pytest.mark.parametrize("path", ["fake:generate", "/nowhere/model.gguf"])
def test_of_what_is_no_file_nothing_is_known(path: str) -> None:
    assert ModelFiles().facts(path) == ModelFacts()
    assert chat_template(path) is None


def test_a_damaged_file_still_has_its_size(model: Path) -> None:
    model.write_bytes(b"not GGUF")
    facts = ModelFiles().facts(str(model))
    assert (facts.size_bytes, facts.architecture) == (8, None)


def test_the_digest_is_the_hash_that_was_checked(model: Path) -> None:
    known = receipt.Receipt(sha256="a" * 64, size_bytes=1, mtime_ns=1, origin="tiny", source="a test")
    unknown = digest("tiny", ModelFiles().facts(str(model)))
    receipt.write(model, known)
    assert digest("tiny", ModelFiles().facts(str(model))) == "a" * 64
    assert len(unknown) == 64
    assert unknown != digest("other", ModelFacts())
