"""edged as it runs inside a machine: its unit, its journal, its configuration, and HTTP from this process."""

import http.client
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests import http_json
from tests.systemd.machine import Machine, wait_until

PORT = 8080
CONFIG = "/etc/edged/edged.yaml"
_DROP_IN = "run/systemd/system/edged.service.d/test.conf"
_AN_ANSWER_S = 60.0


class Service:
    """The installed edged.service."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def systemctl(self, *arguments: str, check: bool = True) -> int:
        """systemctl's exit code."""
        return self.machine.run("systemctl", *arguments, check=check).returncode

    def show(self, name: str, unit: str = "edged.service") -> str:
        """One property of a unit."""
        return self.machine.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def wait_active(self) -> None:
        """Return when systemd says so; fail as soon as it says that the start failed."""

        def active() -> bool:
            state = self.show("ActiveState")
            assert state != "failed", self.journal_text()
            return state == "active"

        wait_until(active, self.journal_text)

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own; the caller closes it."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=_AN_ANSWER_S)
        connection.sock = self.machine.connect(PORT)
        return connection

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON (or text) of one request."""
        return http_json.call(self.connection(), method, path, body, key)

    def chat(self, content: str, model: str = "smollm2", **options: Any) -> tuple[int, Any]:
        """One short greedy chat completion."""
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 4, **options}
        return self.call("POST", "/v1/chat/completions", body)

    def embed(self, text: str, key: str | None = None) -> int:
        """The status of one embeddings request."""
        return self.call("POST", "/v1/embeddings", {"model": "minilm", "input": text}, key)[0]

    def models(self) -> dict[str, dict[str, Any]]:
        """Name -> status of every model."""
        models = self.call("GET", "/edged/v1/models")[1]["models"]
        return {model["model"]: model for model in models}

    def wait_model(self, name: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Return when a model's status is as wanted."""
        wait_until(lambda: holds(self.models()[name]), lambda: f"{self.models()}\n{self.journal_text()}")

    @property
    def daemon(self) -> psutil.Process:
        """The daemon's process."""
        return psutil.Process(self.machine.host_pid(int(self.show("MainPID"))))

    def runner(self, model: str) -> psutil.Process:
        """The process of a loaded model."""
        return psutil.Process(self.machine.host_pid(self.models()[model]["pid"]))

    def cursor(self) -> str:
        """Where the journal ends now."""
        shown = self.machine.run("journalctl", "-n", "0", "--show-cursor", "--no-pager").stdout
        return shown.rpartition("-- cursor: ")[2].strip()

    def journal(self, after: str | None = None) -> list[dict[str, Any]]:
        """edged's own entries and what systemd says about it, each with its fields."""
        since = [] if after is None else [f"--after-cursor={after}"]
        found = self.machine.run("journalctl", "-u", "edged", "-o", "json", "--no-pager", *since)
        return [json.loads(line) for line in found.stdout.splitlines()]

    def journal_text(self) -> str:
        """The end of the journal, for a person."""
        units = ("-u", "edged.service", "-u", "edged.socket")
        return self.machine.run("journalctl", *units, "-n", "60", "--no-pager", check=False).stdout

    @property
    def config_file(self) -> Path:
        """The configuration, as this machine reaches it."""
        return self.machine.root / CONFIG.lstrip("/")

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Write the configuration anew, changed."""
        config = yaml.safe_load(self.config_file.read_text())
        change(config)
        self.config_file.write_text(yaml.safe_dump(config))

    @contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """The unit has these settings as well; edged is restarted with them."""
        path = self.machine.root / _DROP_IN
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        try:
            self.systemctl("daemon-reload")
            self.systemctl("restart", "edged")
            yield
        finally:
            path.unlink()
            path.parent.rmdir()
            self.systemctl("daemon-reload")


def kill(process: psutil.Process) -> None:
    """kill -9."""
    process.send_signal(signal.SIGKILL)


def hang(process: psutil.Process) -> None:
    """A process that is stopped does nothing, like one that hangs."""
    process.send_signal(signal.SIGSTOP)
