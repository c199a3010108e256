"""Where the configuration comes from, each time that it is read."""

from collections.abc import Sequence
from pathlib import Path

from edged.config.load import load
from edged.config.schema import Config


class Source:
    """A file with overrides, and the keys that were handed over last."""

    def __init__(self, file: Path | None, overrides: Sequence[str]) -> None:
        self._file = file
        self._overrides = tuple(overrides)
        self._keys: str | None = None

    def read(self) -> Config:
        """The configuration as it is now. Raises ConfigError."""
        return load(self._file, self._overrides, self._keys)

    def take_keys(self, text: str) -> str:
        """From the next time on these, in place of what systemd copied when the service started; says so."""
        self._keys = text
        return "taken, for the next reload"
