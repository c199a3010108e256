"""A real daemon in a process of its own, and the few ways in which tests talk to it."""

import http.client
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import openai
import psutil

from tests import http_json
from tests.device.device import Device

PATIENCE_S = 120.0  # far longer than anything takes, also on a busy machine


def settings(*overrides: str) -> list[str]:
    """Arguments of `edged run` that override keys of its file, each `KEY=VALUE`."""
    return [part for override in overrides for part in ("--set", override)]


def _run(argv: Sequence[str], env: Mapping[str, str], stdout: int, stderr: int) -> "subprocess.Popen[str]":
    """As `Device.run`, on the whole machine."""
    return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True)


class Daemon:
    """`edged run` on a free port. Killed with its runners when the block ends."""

    def __init__(
        self,
        config: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        device: Device | None = None,
    ) -> None:
        """`device`: where it runs, instead of the whole machine."""
        self.process = (device.run if device else _run)(
            [sys.executable, "-m", "edged", "run", "--config", str(config), "--port", "0", *arguments],
            {**os.environ, **(env or {})},
            subprocess.PIPE,
            subprocess.STDOUT,
        )
        self.output: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port = int(self.wait_for_line("edged: listening on ").rsplit(":", 1)[1])
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.output.append(line)
                self._lines.put(line)
        self._lines.put(None)

    def wait_for_line(self, text: str) -> str:
        """The next line of output that contains `text`."""
        deadline = time.monotonic() + PATIENCE_S
        while line := self._lines.get(timeout=max(0.1, deadline - time.monotonic())):
            if text in line:
                return line.strip()
        raise AssertionError(f"edged ended without {text!r}:\n{''.join(self.output)}")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON (or text) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        return http_json.call(connection, method, path, body)

    def chat(self, content: str, **options: Any) -> tuple[int, Any]:
        """One greedy chat completion from SmolLM2."""
        body = {"model": "smollm2", "messages": [{"role": "user", "content": content}], "temperature": 0}
        return self.call("POST", "/v1/chat/completions", {**body, "max_tokens": 16, **options})

    def embed(self, value: Any, **options: Any) -> tuple[int, Any]:
        """One embeddings request to MiniLM."""
        return self.call("POST", "/v1/embeddings", {"model": "minilm", "input": value, **options})

    def client(self) -> openai.OpenAI:
        """The client that users bring."""
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
        )

    def wait_until(self, path: str, holds: Callable[[int, Any], bool]) -> Any:
        """Ask until the answer is as wanted; returns its body."""
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not holds(*(answer := self.call("GET", path))):
            assert time.monotonic() < deadline, f"{path}: {answer}\n{''.join(self.output)}"
            pause.wait(0.02)
        return answer[1]

    def wait_ready(self) -> None:
        """Return when every model that starts with edged answers."""
        self.wait_until("/readyz", lambda status, _: status == 200)

    def model(self, name: str) -> dict[str, Any]:
        """One model's status."""
        models = self.call("GET", "/edged/v1/models")[1]["models"]
        return next(dict(model) for model in models if model["model"] == name)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runners: list[psutil.Process] = []
        if self.process.poll() is None:
            runners = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        _, left = psutil.wait_procs(runners, timeout=10)
        for runner in left:
            runner.kill()
        assert not left, f"runners outlived their daemon: {left}"
