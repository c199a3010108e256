"""Models that clients have pulled: they are served beside the configured ones, also after a restart.

They have a folder of their own below the state directory: as a service, edged may write neither its
configuration nor the folder of `edged pull`. It is the list: what lies in it is whole, and served on demand.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edged.config.paths import model_dir, model_path, state_dir
from edged.config.schema import Config, Model
from edged.store import receipt
from edged.store.catalog import file_of

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")  # what the configuration takes


class Pulled:
    """The folder. Whoever changes what is in it sees to it that this is served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, config: Config) -> "Pulled":
        """By the configuration."""
        return cls(state_dir(config) / "pulled")

    def models(self) -> Mapping[str, Path]:
        """The files by model."""
        files = sorted(self.folder.glob("*.gguf"))  # nothing where there is no folder
        return {path.stem: path for path in files if _ID.fullmatch(path.stem) and path.is_file()}

    def added_to(self, config: Config) -> Config:
        """A configuration with these models. One that it has already stays, unless its file is missing."""
        models = dict(config.models)
        for model, path in self.models().items():
            file = str(path.resolve())
            if model not in models:
                models[model] = Model(file=file, preload=False)
            elif not model_path(config, model).is_file():
                models[model] = msgspec.structs.replace(models[model], file=file)
        return msgspec.structs.replace(config, models=models)

    def find(self, config: Config, model: str) -> bool:
        """Whether a model lies here; one that `edged pull` has put in its place does from now on.

        Raises OSError.
        """
        if model in self.models():
            return True
        path = model_dir(config) / file_of(model)
        known = receipt.read(path)
        if known is None or known.origin != model or receipt.changed_since_pull(path):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / path.name
        link.unlink(missing_ok=True)  # to a file that was removed
        link.symlink_to(path)
        return True

    def remove(self, model: str) -> bool:
        """Remove a model; False where there is none of that name. Raises OSError."""
        path = self.models().get(model)
        if path is None:
            return False
        path.unlink()
        receipt.forget(path)
        return True
