"""Where files lie, under systemd and for a user."""

from pathlib import Path

import pytest

from edged.config import paths
from edged.config.schema import Config, Model, Storage
from edged.errors import ConfigError, UnknownModel


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_in_a_home_directory() -> None:
    assert paths.model_dir(Config()) == Path("/home/ada/.local/share/edged/models")
    assert paths.state_dir(Config()) == Path("/home/ada/.local/state/edged")


def test_in_the_folders_of_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert paths.model_dir(Config()) == Path("/data/edged/models")
    assert paths.state_dir(Config()) == Path("/home/ada/.local/state/edged")


def test_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edged:/var/lib/other")
    monkeypatch.delenv("HOME")
    assert paths.model_dir(Config()) == Path("/var/lib/edged/models")
    assert paths.state_dir(Config()) == Path("/var/lib/edged")


def test_named_in_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edged")
    config = Config(storage=Storage(model_dir="~/models", state_dir="state"))
    assert paths.model_dir(config) == Path("/home/ada/models")
    assert paths.state_dir(config) == tmp_path / "state"


def test_nothing_to_go_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    with pytest.raises(ConfigError, match=r"storage.model_dir: auto needs .*\$XDG_DATA_HOME or \$HOME"):
        paths.model_dir(Config())
    with pytest.raises(ConfigError, match=r"storage.state_dir: auto needs .*\$XDG_STATE_HOME or \$HOME"):
        paths.state_dir(Config())


def test_unknown_user() -> None:
    with pytest.raises(ConfigError, match="nosuchuser"):
        paths.model_dir(Config(storage=Storage(model_dir="~nosuchuser/models")))


def test_model_path() -> None:
    models = {
        "near": Model(file="sub/near.gguf"),
        "far": Model(file="/srv/far.gguf"),
        "mine": Model(file="~/m.gguf"),
    }
    config = Config(storage=Storage(model_dir="/models"), models=models)
    assert paths.model_path(config, "near") == Path("/models/sub/near.gguf")
    assert paths.model_path(config, "far") == Path("/srv/far.gguf")
    assert paths.model_path(config, "mine") == Path("/home/ada/m.gguf")
    with pytest.raises(UnknownModel, match="there are: near, far, mine"):
        paths.model_path(config, "gone")
