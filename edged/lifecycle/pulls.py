"""Pulls that clients ask for: one at a time, for as long as somebody follows it; then the model is served."""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edged.config.paths import model_path
from edged.config.schema import Config
from edged.errors import EdgedError, InvalidRequest, Overloaded, PullError, Unavailable, UnknownModel
from edged.lifecycle.download import Download, Follower
from edged.lifecycle.pulled import Pulled
from edged.store import catalog

log = logging.getLogger(__name__)

_RETRY_S = 10.0
_STOP_S = 10.0

Command = Callable[[Path, str], Sequence[str]]


def _command(folder: Path, model: str) -> Sequence[str]:
    return (sys.executable, "-m", "edged.lifecycle.fetch", str(folder), model)


class Pulls:
    """For any thread."""

    def __init__(
        self,
        pulled: Pulled,
        config: Callable[[], Config],
        serve: Callable[[], object],
        command: Command = _command,
        catalog_file: Path | None = None,
    ) -> None:
        """`serve` puts in force what lies in the folder of `pulled`, or is no more; it raises EdgedError.

        `command` fetches a model into a folder, as `edged.lifecycle.fetch` does.
        """
        self._pulled = pulled
        self._config = config
        self._serve = serve
        self._command = command
        self._catalog = catalog_file
        self._lock = threading.Lock()
        self._now: Download | None = None
        self._closed = False

    def follow(self, model: str) -> Follower:
        """Begin to pull a model of the catalog, or follow the pull of it that goes on; `leave` it then.

        A model that is there is served at once. Raises UnknownModel, Overloaded while another one is pulled,
        Unavailable after `close`, and PullError.
        """
        if self._is_there(model):
            follower = Follower(lambda _: None)
            follower.end(None)
            return follower
        with self._lock:
            self._check_open()
            now = self._now
            if now is None or now.over:
                now = Download(model, self._command(self._pulled.folder, model), self._serve)
            follower = Follower(now.leave)
            if now.model != model or not now.follow(follower):
                what = "is being stopped" if now.stopped else "is being pulled, and one model is at a time"
                raise Overloaded(f"{now.model} {what}; try again later", _RETRY_S)
            if now is not self._now:
                self._now = now
                now.thread.start()
            return follower

    def delete(self, model: str) -> None:
        """Serve a model that was pulled here no more, and remove its file.

        Raises UnknownModel, InvalidRequest for a model of the configuration, and what serving anew raises.
        """
        with self._lock:
            self._check_open()
            try:
                removed = self._pulled.remove(model)
            except OSError as error:
                raise EdgedError(f"{model}: cannot be removed: {error.strerror}") from error
        if removed:
            log.info("%s: deleted by a client", model, extra={"MODEL": model})
            self._serve()
        elif model in self._config().models:
            raise InvalidRequest(
                f"model: {model} was not pulled by a client; remove it from the configuration, and its file",
                "model",
            )
        else:
            raise UnknownModel(f"model {model!r} is not here; GET /api/tags lists the models")

    def close(self) -> None:
        """Stop the pull that goes on; what it has received is kept."""
        with self._lock:
            self._closed = True
            now = self._now
        if now is not None:
            now.stop()
            now.thread.join(_STOP_S)
            now.kill()

    def _is_there(self, model: str) -> bool:
        """Whether a model is served without a download. Raises UnknownModel, and what serving it raises."""
        config = self._config()
        if model in config.models and model_path(config, model).is_file():
            return True
        known = catalog.load(self._catalog)
        if model not in known:
            raise UnknownModel(
                f"no model {model!r} in edged's catalog, which has {', '.join(known)}; on the machine itself,"
                " `edged pull` also takes addresses and files"
            )
        try:
            if not self._pulled.find(config, model):
                return False
        except OSError as error:
            raise PullError(f"{error.filename}: {error.strerror}: see storage.state_dir") from error
        self._serve()
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("edged is shutting down", 5.0)
