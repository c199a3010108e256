import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edged.cli import models, pull
from edged.store import receipt
from edged.store.receipt import Receipt
from tests.unit.store.samples import gguf_bytes, sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def config(tmp_path: Path, folder: Path) -> Path:
    file = tmp_path / "edged.yaml"
    file.write_text(f"storage:\n  model_dir: {folder}\n")
    return file


def _edged_models(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(models.command, [*arguments, "--config", str(config)])


def _json(config: Path, *arguments: str) -> dict[str, dict[str, object]]:
    rows = json.loads(_edged_models(config, "--json", *arguments).stdout)
    return {row["id"]: row for row in rows}


def _install(path: Path, content: bytes, origin: str, weights: str | None) -> None:
    path.write_bytes(content)
    facts = path.stat()
    receipt.write(
        path,
        Receipt(
            sha256=sha256(content),
            size_bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            origin=origin,
            source="a test",
            weights=weights,
        ),
    )


def test_the_catalog_is_listed_before_anything_is_installed(config: Path, folder: Path) -> None:
    folder.rmdir()
    result = _edged_models(config)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["ID", "INSTALLED", "SIZE", "FORMAT", "MEMORY", "RECEIPT", "LICENSE"]
    assert lines[1].split() == ["minilm", "no", "25.3", "MB", "q8_0", "120.0", "MB", "-", "Apache-2.0"]
    assert [line.split()[0] for line in lines[1:4]] == ["minilm", "smollm2", "gemma3-270m"]
    assert result.stdout.endswith(f"Model directory: {folder}\n")


def test_installed_models_show_their_own_weights_and_size(config: Path, folder: Path) -> None:
    _install(folder / "minilm.gguf", b"x" * 1000, "minilm", "bf16")
    row = _json(config)["minilm"]
    assert (row["installed"], row["format"], row["size_bytes"]) == (True, "bf16", 1000)
    assert (row["receipt"], row["memory_bytes"], row["license"]) == ("ok", 140_000_000, "Apache-2.0")


def test_other_files_are_read_for_what_they_are(config: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "own.gguf").write_bytes(gguf_bytes(tmp_path))
    row = _json(config)["own"]
    assert (row["format"], row["receipt"], row["license"], row["problem"]) == ("f32", "none", None, None)
    assert "own" in _edged_models(config).stdout


def test_a_stranger_under_a_catalog_name_gets_no_catalog_facts(
    config: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "smollm2.gguf").write_bytes(gguf_bytes(tmp_path))
    row = _json(config)["smollm2"]
    assert (row["license"], row["format"], row["receipt"]) == (None, "f32", "none")


def test_a_damaged_file_is_listed_with_its_problem(config: Path, folder: Path) -> None:
    (folder / "broken.gguf").write_bytes(b"GGUF")
    assert _json(config)["broken"]["format"] is None
    result = _edged_models(config)
    assert result.exit_code == 0
    assert "not a usable GGUF file" in result.stdout


def test_bit_rot_shows_with_verify(config: Path, folder: Path, tmp_path: Path) -> None:
    content = gguf_bytes(tmp_path)
    path = folder / "own.gguf"
    _install(path, content, "/somewhere/own.gguf", None)
    facts = path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert _json(config)["own"]["receipt"] == "ok"
    assert _edged_models(config).exit_code == 0
    verified = _edged_models(config, "--verify")
    assert verified.exit_code == 1
    assert "own has changed since it was pulled; pull it again" in verified.stdout


def test_a_rewritten_file_shows_without_verify(config: Path, folder: Path, tmp_path: Path) -> None:
    _install(folder / "own.gguf", gguf_bytes(tmp_path), "/somewhere/own.gguf", None)
    (folder / "own.gguf").write_bytes(gguf_bytes(tmp_path, rows=8))
    assert _json(config)["own"]["receipt"] == "changed"


def test_an_unfinished_pull_is_named(config: Path, folder: Path, tmp_path: Path) -> None:
    half = folder / ".partial" / "smollm2" / "parts"
    half.mkdir(parents=True)
    (half / "model.part").write_bytes(b"x" * 2_000_000)
    assert "smollm2 is not pulled to the end (2.0 MB kept)" in _edged_models(config).stdout


def test_a_pulled_file_is_ok(config: Path, tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(gguf_bytes(tmp_path))
    runner = CliRunner()
    assert runner.invoke(pull.command, [str(tmp_path / "own.gguf"), "--config", str(config)]).exit_code == 0
    assert _json(config, "--verify")["own"]["receipt"] == "ok"
