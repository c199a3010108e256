from pathlib import Path

import pytest

from edged.config.schema import Config, Model, Storage
from edged.lifecycle.pulled import Pulled
from edged.store import receipt


@pytest.fixture
def config(tmp_path: Path) -> Config:
    storage = Storage(model_dir=str(tmp_path / "models"), state_dir=str(tmp_path / "state"))
    return Config(storage=storage, models={"own": Model(file="own.gguf")})


@pytest.fixture
def pulled(config: Config) -> Pulled:
    return Pulled.of(config)


def put(folder: Path, name: str, origin: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"a model")
    facts = path.stat()
    if origin is not None:
        known = receipt.Receipt(
            sha256="0" * 64,
            size_bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            origin=origin,
            source="test",
        )
        receipt.write(path, known)
    return path


def test_what_lies_in_the_folder_is_served_on_demand(config: Config, pulled: Pulled) -> None:
    assert pulled.added_to(config) == config
    path = put(pulled.folder, "tiny.gguf")
    put(pulled.folder, "No id.gguf")
    put(pulled.folder / ".partial", "half.gguf")
    assert pulled.added_to(config).models == {
        **config.models,
        "tiny": Model(file=str(path), preload=False),
    }


def test_a_configured_model_stays_unless_its_file_is_missing(
    config: Config, pulled: Pulled, tmp_path: Path
) -> None:
    path = put(pulled.folder, "own.gguf")
    assert pulled.added_to(config).models["own"] == Model(file=str(path))
    put(tmp_path / "models", "own.gguf")
    assert pulled.added_to(config) == config


def test_what_edged_pull_has_fetched_is_not_fetched_again(
    config: Config, pulled: Pulled, tmp_path: Path
) -> None:
    path = put(tmp_path / "models", "tiny.gguf", origin="tiny")
    assert pulled.find(config, "tiny")
    assert pulled.added_to(config).models["tiny"].file == str(path)
    assert pulled.remove("tiny")
    assert path.exists()
    assert pulled.added_to(config) == config


@pytest.mark.parametrize("origin", [None, "/home/somebody/tiny.gguf"])
def test_another_file_of_that_name_is_not_taken_for_it(
    config: Config, pulled: Pulled, tmp_path: Path, origin: str | None
) -> None:
    put(tmp_path / "models", "tiny.gguf", origin)
    assert not pulled.find(config, "tiny")
    assert pulled.added_to(config) == config


def test_a_file_that_was_removed_is_served_no_more(config: Config, pulled: Pulled, tmp_path: Path) -> None:
    path = put(tmp_path / "models", "tiny.gguf", origin="tiny")
    assert pulled.find(config, "tiny")
    path.unlink()
    assert pulled.added_to(config) == config
    assert not pulled.find(config, "tiny")
    put(tmp_path / "models", "tiny.gguf", origin="tiny")
    assert pulled.find(config, "tiny")


def test_a_model_is_removed_with_its_receipt(pulled: Pulled) -> None:
    path = put(pulled.folder, "tiny.gguf", origin="tiny")
    assert pulled.remove("tiny")
    assert not path.exists()
    assert receipt.read(path) is None
    assert not pulled.remove("tiny")
