"""llama-server under measurement, built by `build.sh` beside this file."""

import http.client
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench import web
from tests.bench.models import BenchModel
from tests.bench.process import BenchFailed, Launcher, TimedProcess

_BUILD = Path(__file__).with_name("build.sh")
_POLL_S = 0.02


def binary() -> Path:
    """The program; built when it is not there yet, which takes minutes. Raises BenchFailed."""
    built = subprocess.run([_BUILD], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise BenchFailed(f"{_BUILD} failed; its message is above")
    return Path(built.stdout.strip())


def arguments(model: BenchModel, plan: Mapping[str, Any], slots: int | None = None) -> list[str]:
    """Its defaults, except that the context is what edged plans for the model on the same device.

    Unless `slots` says otherwise, an embedding model gets one.
    """
    embeds = model.kind == "embed"
    if slots is None:
        slots = 1 if embeds else plan["n_seq_max"]
    sizes = {
        "-c": plan["n_ctx"] * slots,
        "-np": slots,
        "-b": plan["n_batch"],
        "-ub": plan["n_ubatch"],
        "-ctk": plan["type_k"],
        "-ctv": plan["type_v"],
    }
    flat = [str(part) for pair in sizes.items() for part in pair]
    return ["-m", str(model.file), "--no-webui", *flat, *(["--embeddings"] if embeds else [])]


class Server:
    """A llama-server that has been started on a free port, and requests to it."""

    def __init__(self, launch: Launcher, program: Path, args: list[str]) -> None:
        with socket.socket() as probe:  # it cannot say which port it took; nobody else asks for ports here
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        self.process = TimedProcess(launch, [str(program), *args, *where])
        self.process.drain()

    def answers_s(self) -> float:
        """When /health answered at all, whatever it said."""
        return self._when("/health", None, lambda _: True)

    def healthy_s(self) -> float:
        """When /health said 200: the model is loaded."""
        return self._when("/health", None, lambda status: status == 200)

    def first_answer_s(self, model: BenchModel) -> float:
        """When the model answered, with the request repeated while the server refuses it."""
        return self._when(model.endpoint, model.request, lambda status: status == 200)

    def request(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """One POST. Raises BenchFailed when it does not answer."""
        try:
            return web.request(self.port, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise self.process.failure(f"llama-server: {path}: {error}") from error

    def _when(self, path: str, body: dict[str, Any] | None, enough: Callable[[int], bool]) -> float:
        deadline = time.monotonic() + web.TIMEOUT_S
        last = "no answer"
        while not self.process.ended() and time.monotonic() < deadline:
            try:
                status, answer = web.request(self.port, path, body)
            except (OSError, http.client.HTTPException) as error:
                last = str(error)
            else:
                if enough(status):
                    return self.process.elapsed_s()
                last = f"{status}: {web.shown(answer)}"
                if status != 503:
                    break
            time.sleep(_POLL_S)
        raise self.process.failure(f"llama-server: {path}: {last}")
