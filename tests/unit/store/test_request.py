from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import catalog
from edged.store.job import LocalFile, Url, Wanted
from edged.store.pull import describe
from edged.store.request import Request, resolve


def _resolve(target: str, **options: str) -> Wanted:
    return resolve(Request(target, **options), catalog.load())


def test_a_catalog_id_brings_files_sources_and_needs() -> None:
    wanted = _resolve("minilm")
    assert (wanted.id, wanted.convert_to, wanted.weights_chosen) == ("minilm", "q8_0", False)
    assert wanted.memory_bytes == 120_000_000
    assert len(wanted.sources) == 2


def test_weights_choose_a_variant() -> None:
    wanted = _resolve("minilm", weights="bf16", name="minilm-bf16")
    assert (wanted.id, wanted.convert_to, wanted.weights_chosen) == ("minilm-bf16", "bf16", True)


def test_ready_made_models_are_not_converted() -> None:
    assert _resolve("smollm2").convert_to is None
    with pytest.raises(PullError, match="no weights bf16; there are: q4_1"):
        _resolve("smollm2", weights="bf16")


@pytest.mark.parametrize(
    ("target", "hint"), [("smollm", "did you mean smollm2"), ("zzz", "there are: minilm")]
)
def test_an_unknown_id_gets_a_hint(target: str, hint: str) -> None:
    with pytest.raises(PullError, match=hint):
        _resolve(target)


def test_an_address_is_named_after_its_file() -> None:
    wanted = _resolve("https://example.org:8443/dir/My-Model.gguf")
    assert wanted.id == "My-Model"
    assert wanted.sources == (Url("https://example.org:8443/dir/My-Model.gguf"),)
    assert wanted.origin == "https://example.org:8443/dir/My-Model.gguf"


def test_secrets_in_an_address_are_kept_nowhere() -> None:
    first = _resolve("https://example.org/model.gguf?token=secret")
    second = _resolve("https://example.org/model.gguf?token=other")
    assert "secret" not in first.origin
    assert first.origin != second.origin
    assert "secret" not in describe(first.sources[0])


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("http://example.org/a.gguf", "only https"),
        ("file:///etc/passwd", "only https"),
        ("ftp://example.org/a.gguf", "only https"),
        ("https://user:word@example.org/a.gguf", "password"),
        ("https:///a.gguf", "not an address"),
        ("https://example.org:port/a.gguf", "not an address"),
        ("https://example.org/a b.gguf", "not an address"),
        ("https://example.org/download", "--name"),
        ("https://example.org/..gguf", "cannot be a model id"),
        ("https://example.org/-rf.gguf", "cannot be a model id"),
        ("https://example.org/%2e%2e%2fx%0a.gguf", "cannot be a model id"),
    ],
)
def test_addresses_that_cannot_be_pulled(address: str, complaint: str) -> None:
    with pytest.raises(PullError, match=complaint) as caught:
        _resolve(address)
    assert "word" not in str(caught.value).replace("password", "")


def test_a_file_is_a_path_or_ends_in_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    for target in ("own.gguf", "./own.gguf", str(tmp_path / "own.gguf")):
        wanted = _resolve(target)
        assert wanted.id == "own"
        assert wanted.sources == (LocalFile(tmp_path / "own.gguf"),)


def test_a_missing_file_or_a_folder_is_a_hard_error(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="No such file"):
        _resolve(str(tmp_path / "absent.gguf"))
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(PullError, match="not a plain file"):
        _resolve(str(tmp_path / "folder.gguf"))
    with pytest.raises(PullError, match="null"):
        _resolve("./a\x00.gguf")


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    with pytest.raises(PullError, match="in the catalog"):
        _resolve("smollm2", sha256="a" * 64)
    with pytest.raises(PullError, match="64 hexadecimal"):
        _resolve(str(tmp_path / "own.gguf"), sha256="xyz")
    with pytest.raises(PullError, match="--weights"):
        _resolve(str(tmp_path / "own.gguf"), weights="q8_0")
    with pytest.raises(PullError, match="cannot be a model id"):
        _resolve("smollm2", name="../escape")


def test_a_hash_may_be_given_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    assert _resolve(str(tmp_path / "own.gguf"), sha256="A" * 64).files[0].sha256 == "a" * 64
