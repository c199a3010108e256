"""`edged run` under measurement, and a client for it."""

import http.client
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.bench import web
from tests.bench.models import BenchModel
from tests.bench.process import BenchFailed, Launcher, TimedProcess

Settings = Mapping[str, Mapping[str, object]]
EDGED = (sys.executable, "-c", "from edged.cli.main import main; main()")
_ADDRESS = re.compile(r"edged: listening on http://127\.0\.0\.1:(\d+)")
_POLL_S = 0.02  # rarely enough to take no CPU from what is measured


def write_config(
    path: Path, models: Sequence[BenchModel], strategy: str, more: Settings | None = None
) -> Path:
    """A configuration that serves these models, with a state folder of its own beside the file.

    `more` are further settings, by model.
    """
    text = yaml.safe_dump(
        {
            "storage": {"state_dir": str(path.parent / "state")},
            "loading": {"request_wait": f"{web.TIMEOUT_S:.0f}s"},
            "models": {
                model.id: {"file": str(model.file), "strategy": strategy, **(more or {}).get(model.id, {})}
                for model in models
            },
        }
    )
    path.write_text(text)
    return path


def start(launch: Launcher, config: Path, command: Sequence[str] = EDGED) -> TimedProcess:
    """Start the daemon on a free port; `Client` waits for its address."""
    return TimedProcess(launch, [*command, "run", "--config", str(config), "--port", "0"])


class Client:
    """Requests to a daemon that says where it listens."""

    def __init__(self, daemon: TimedProcess) -> None:
        self._daemon = daemon
        line = daemon.wait_for_line(lambda line: _ADDRESS.search(line) is not None)
        match = _ADDRESS.search(line)
        assert match is not None
        self.port = int(match[1])
        daemon.drain()

    def request(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """One request; returns status and body. Raises BenchFailed when the daemon does not answer."""
        try:
            return web.request(self.port, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise self._daemon.failure(f"{path}: {error}") from error

    def answer(self, model: BenchModel) -> None:
        """Wait for a model's first answer. Raises BenchFailed when it is none."""
        status, body = self.request(model.endpoint, model.request)
        if status != 200:
            raise BenchFailed(f"{model.endpoint}: {status}: {web.shown(body)}")

    def wait_until_ready(self) -> None:
        """Ask /readyz until it says 200. Raises BenchFailed when the daemon ends or time is up."""
        deadline = time.monotonic() + web.TIMEOUT_S
        while True:
            status, body = self.request("/readyz")
            if status == 200:
                return
            if self._daemon.ended() or time.monotonic() > deadline:
                raise self._daemon.failure(f"/readyz: {status}: {web.shown(body)}")
            time.sleep(_POLL_S)

    def of_models(self, path: str, key: str) -> dict[str, dict[str, Any]]:
        """What /edged/v1/models (key `models`) or /edged/v1/plan (key `plans`) says, by model."""
        status, body = self.request(path)
        if status != 200:
            raise BenchFailed(f"{path}: {status}: {web.shown(body)}")
        return {entry["model"]: entry for entry in json.loads(body)[key]}
