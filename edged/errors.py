"""The few kinds of error that cross a package boundary.

Each message says what is wrong, where, and what to change. The HTTP layer maps kinds to statuses in one
table (`edged/api/errors.py`); the command line maps them to exit codes through `exit_code`.
"""

from collections.abc import Sequence


class EdgedError(Exception):
    """A failure that the user can understand and act on; printed without a traceback."""

    exit_code = 1


class ConfigError(EdgedError):
    """The configuration is wrong. Carries every problem found, one line each, as `file: path: reason`."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PortTaken(EdgedError):
    """The address cannot be bound."""

    exit_code = 3


class ModelFileError(EdgedError):
    """A model file is missing, truncated, damaged or not GGUF."""


class PullError(EdgedError):
    """A model could not be fetched; what was already downloaded is kept for the next try."""


class InvalidRequest(EdgedError):
    """A request that can never succeed as it is. `param` names the field to change."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ComputeFailed(EdgedError):
    """llama.cpp could not compute a batch, or what it computed are no numbers."""


class UnknownModel(EdgedError):
    """No such model id in the configuration."""


class Overloaded(EdgedError):
    """The queue is full; try again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(EdgedError):
    """The model or the daemon cannot answer now; try again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Replaced(Unavailable):
    """The model was unloaded, replaced or removed in the meantime: ask for it again."""


class NoRoom(EdgedError):
    """There is no room in memory for a model, and none can be made: a load may have `room_bytes` at most."""

    def __init__(self, message: str, room_bytes: int = 0) -> None:
        super().__init__(message)
        self.room_bytes = room_bytes


class NoModelLoaded(EdgedError):
    """No model could be loaded at start, and a restart would not change that."""

    exit_code = 4


class RunnerFailed(EdgedError):
    """A runner died or broke its contract while it worked on a request."""


class NotBegun(RunnerFailed):
    """A runner died before it began with a request: the next one may be asked."""
