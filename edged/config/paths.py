"""Where models and what edged has learnt lie, from the configuration and the environment."""

import os
from pathlib import Path

from edged.config.schema import Config
from edged.errors import ConfigError, UnknownModel


def model_dir(config: Config) -> Path:
    """The folder of the model files. Raises ConfigError when `auto` has nothing to go by."""
    if config.storage.model_dir != "auto":
        return _absolute(config.storage.model_dir)
    service = _service_dir()
    return (
        service / "models" if service else _user_dir("XDG_DATA_HOME", ".local/share", "model_dir") / "models"
    )


def state_dir(config: Config) -> Path:
    """The folder for calibration and the like. Raises ConfigError when `auto` has nothing to go by."""
    if config.storage.state_dir != "auto":
        return _absolute(config.storage.state_dir)
    return _service_dir() or _user_dir("XDG_STATE_HOME", ".local/state", "state_dir")


def model_path(config: Config, model_id: str) -> Path:
    """The file of a configured model. Raises UnknownModel."""
    if model_id not in config.models:
        raise UnknownModel(
            f'no model "{model_id}" in the configuration; there are: {", ".join(config.models)}'
        )
    file = Path(config.models[model_id].file).expanduser()
    return file if file.is_absolute() else model_dir(config) / file


def tls_files(config: Config) -> tuple[Path, Path] | None:
    """The certificate and its key; None where plain HTTP is spoken."""
    server = config.server
    if server.tls_certificate == "none":
        return None
    return Path(server.tls_certificate).expanduser(), Path(server.tls_key).expanduser()


def _service_dir() -> Path | None:
    """systemd's StateDirectory=; of a list (a unit may name several, separated by colons) the first."""
    first = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(first) if first else None


def _user_dir(variable: str, below_home: str, setting: str) -> Path:
    """A folder by the XDG base directory specification, which ignores relative values."""
    named = os.environ.get(variable, "")
    if named and Path(named).is_absolute():
        return Path(named) / "edged"
    home = os.environ.get("HOME", "")
    if not home:
        raise ConfigError(
            [
                f"storage.{setting}: auto needs $STATE_DIRECTORY, ${variable} or $HOME, and none is set; "
                "name a folder"
            ]
        )
    return Path(home) / below_home / "edged"


def _absolute(folder: str) -> Path:
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError as error:  # ~name of a user who does not exist
        raise ConfigError([f"storage: {folder}: {error}"]) from error
