from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from edged.cli.probe import command, cpu_rows, file_rows, memory_rows, model_files, storage_rows
from edged.errors import ConfigError
from edged.hw.snapshot import CpuFacts, FileFacts, HardwareSnapshot, MemoryFacts, StorageFacts


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("b.gguf", "a.gguf", "notes.txt"):
        (folder / name).write_bytes(b"x" * 5000)
    return folder


def test_json_is_the_snapshot(models: Path) -> None:
    result = CliRunner().invoke(command, ["--json", str(models)])

    assert result.exit_code == 0, result.output
    snapshot = msgspec.json.decode(result.stdout, type=HardwareSnapshot)
    assert [file.path for file in snapshot.files] == [str(models / "a.gguf"), str(models / "b.gguf")]
    assert snapshot.memory.total_bytes


def test_tables_name_every_part(models: Path) -> None:
    result = CliRunner().invoke(command, [str(models / "a.gguf")], env={"COLUMNS": "200"})

    assert result.exit_code == 0, result.output
    for part in ("Memory", "CPU", "Storage", "Model files", str(models / "a.gguf"), "MiB"):
        assert part in result.output


def test_the_model_directory_of_the_configuration(models: Path, tmp_path: Path) -> None:
    config = tmp_path / "edged.yaml"
    config.write_text(f"storage:\n  model_dir: {models}\n")

    result = CliRunner().invoke(command, ["--json", "--config", str(config)])

    assert result.exit_code == 0, result.output
    assert len(msgspec.json.decode(result.stdout, type=HardwareSnapshot).files) == 2


def test_without_a_configuration_the_default_directory(tmp_path: Path) -> None:
    env = {"EDGED_CONFIG": None, "STATE_DIRECTORY": str(tmp_path / "state"), "COLUMNS": "200"}

    result = CliRunner().invoke(command, [], env=env)

    assert result.exit_code == 0, result.output
    assert f"no model files (*.gguf) in {tmp_path / 'state' / 'models'}" in result.output


def test_a_named_configuration_must_exist(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--config", str(tmp_path / "missing.yaml")])

    assert isinstance(result.exception, ConfigError)


def test_folders_stand_for_their_models_or_for_themselves(models: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert model_files([models, empty, tmp_path / "x.gguf"]) == [
        str(models / "a.gguf"),
        str(models / "b.gguf"),
        str(empty),
        str(tmp_path / "x.gguf"),
    ]


def test_what_is_unknown_says_so() -> None:
    rows = [*memory_rows(MemoryFacts()), *cpu_rows(CpuFacts())]
    rows += storage_rows([StorageFacts(path="/")])
    rows += file_rows([FileFacts(path="x")])

    assert all("unknown" in " ".join(row) for row in rows)
    assert not any("None" in cell for row in rows for cell in row)


def test_units() -> None:
    memory = MemoryFacts(
        total_bytes=1 << 30, available_bytes=512 << 20, cgroup_version=2, cgroup_limit_bytes=256 << 20
    )
    storage = StorageFacts(path="/", sequential_bytes_per_s=41.9e6, random_latency_s=0.00123)

    assert ("total", "1024.0 MiB") in memory_rows(memory)
    assert ("usable by models", "256.0 MiB") in memory_rows(memory)
    assert "41.9 MB/s" in storage_rows([storage])[0]
    assert "1.23 ms" in storage_rows([storage])[0]


def test_no_limit_is_not_unknown() -> None:
    assert ("cgroup limit", "none") in memory_rows(MemoryFacts(cgroup_version=2))


def test_quota_and_fast_cores() -> None:
    rows = cpu_rows(CpuFacts(logical_cores=8, usable_cores=2, quota_cores=2.5, performance_cores=4))

    assert ("usable cores", "2 of 8, by a quota of 2.50, 4 of them fast") in rows
