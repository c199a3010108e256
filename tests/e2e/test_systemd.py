"""The daemon under a systemd that these tests play: what it says, and how it takes and leaves its socket."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SHIPPED_CONFIG
from tests.e2e.daemon import PATIENCE_S, Daemon, settings
from tests.systemd_socket import command_with_sockets

Start = Callable[..., Daemon]


class Systemd:
    """Hears what a service says."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.address)
        self._sock.settimeout(PATIENCE_S)
        self.heard: list[str] = []

    def hear(self, holds: Callable[[str], bool]) -> str:
        """Listen until a line is as wanted."""
        while True:
            for line in self._sock.recv(8192).decode().splitlines():
                self.heard.append(line)
                if holds(line):
                    return line

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


def test_it_says_what_it_does_from_the_first_look_to_the_last_request(start: Start, systemd: Systemd) -> None:
    daemon = start(env={"NOTIFY_SOCKET": systemd.address})
    systemd.hear(lambda line: line == "STATUS=measuring this machine")
    systemd.hear(lambda line: line == "READY=1")
    assert daemon.call("GET", "/readyz")[0] == 200
    systemd.hear(lambda line: line == "STATUS=serving minilm, smollm2")
    assert daemon.stop() == 0
    systemd.hear(lambda line: line == "STOPPING=1")
    systemd.hear(lambda line: line == "STATUS=stopping the models' runners")
    assert not [line for line in systemd.heard if line.startswith(("MAINPID=", "ERRNO="))]
    assert "WATCHDOG=1" not in systemd.heard, "nobody asked for it"


def test_it_shows_life_as_often_as_systemd_wants_and_a_stopped_daemon_does_not(
    start: Start, systemd: Systemd
) -> None:
    daemon = start(env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "400000"})
    for _ in range(4):
        systemd.hear(lambda line: line == "WATCHDOG=1")
    pids = [daemon.model(name)["pid"] for name in ("minilm", "smollm2")]
    for pid in pids:
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert not [entry for entry in environment if entry.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]
    daemon.process.send_signal(signal.SIGSTOP)
    with contextlib.suppress(TimeoutError):
        systemd._sock.settimeout(1.0)
        systemd.hear(lambda _line: False)
    systemd.heard.clear()
    with pytest.raises(TimeoutError):
        systemd.hear(lambda line: line == "WATCHDOG=1")
    daemon.process.send_signal(signal.SIGCONT)
    systemd._sock.settimeout(PATIENCE_S)
    systemd.hear(lambda line: line == "WATCHDOG=1")


def test_a_stopped_runner_is_replaced_and_the_other_model_serves_meanwhile(start: Start) -> None:
    daemon = start("loading.hang_timeout=2s", "loading.restart_backoff=10ms")
    daemon.wait_ready()
    pid = daemon.model("smollm2")["pid"]
    assert {"Seccomp:\t2", "NoNewPrivs:\t1"} <= set(Path(f"/proc/{pid}/status").read_text().splitlines())
    os.kill(pid, signal.SIGSTOP)
    answers: list[tuple[int, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(daemon.chat("hello")))
    waiting.start()
    assert daemon.embed("the other model goes on")[0] == 200
    waiting.join(PATIENCE_S)
    assert answers[0][0] == 200, "the stopped runner had not begun with it: the next one was asked"
    assert daemon.model("smollm2")["pid"] != pid
    assert 'cause="hung"' in daemon.call("GET", "/metrics")[1]


def test_a_runner_that_computes_for_longer_than_it_may_be_silent_is_alive(start: Start) -> None:
    """One step computes a whole prompt, and says nothing meanwhile."""
    daemon = start(
        "loading.hang_timeout=1s", "models.smollm2.n_ctx=2048", "models.smollm2.n_batch=2048",
        "models.smollm2.n_ubatch=2048", "models.smollm2.n_seq_max=1", "models.smollm2.n_threads=1",
    )  # fmt: skip
    daemon.wait_ready()
    pid = daemon.model("smollm2")["pid"]
    status, answer = daemon.chat("word " * 1800, max_tokens=1)
    assert status == 200, answer
    assert answer["usage"]["prompt_tokens"] > 1800
    assert daemon.model("smollm2")["pid"] == pid


class Activated:
    """A daemon with MiniLM on a socket that systemd holds; one life of it."""

    def __init__(self, held: socket.socket, models: Path, state: Path) -> None:
        arguments = settings(
            f"storage.model_dir={models}", f"storage.state_dir={state}", "models.smollm2.preload=false"
        )
        self.process = subprocess.Popen(
            command_with_sockets([held], "-m", "edged", "run", "--config", str(SHIPPED_CONFIG), *arguments),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=[held.fileno()],
        )  # fmt: skip

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, output
        return str(output)


def test_no_request_is_lost_when_it_restarts_under_load(models: Path, tmp_path: Path) -> None:
    over = threading.Event()
    done = [0, 0, 0]
    failures: list[str] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", held.getsockname()[1], timeout=PATIENCE_S)
        body = json.dumps({"model": "minilm", "input": "a short text"})
        while not over.is_set():
            try:
                connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200:
                    failures.append(f"{answer.status} {said.decode()}")
                if number:  # one of them keeps its connection
                    connection.close()
                done[number] += 1
            except OSError as error:
                failures.append(repr(error))
                connection.close()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as held:
        clients = [threading.Thread(target=client, args=(number,)) for number in range(len(done))]
        for thread in clients:
            thread.start()  # before there is anything: they wait
        for _ in range(2):
            daemon = Activated(held, models, tmp_path / "state")
            before = list(done)
            while not all(now > then + 5 for now, then in zip(done, before, strict=True)):
                assert daemon.process.poll() is None
                over.wait(0.01)
            output = daemon.stop()
            assert f"listening on http://127.0.0.1:{held.getsockname()[1]}" in output
            assert "server.port (127.0.0.1, 8080) are not used" in output
        daemon = Activated(held, models, tmp_path / "state")
        before = list(done)
        while not all(now > then for now, then in zip(done, before, strict=True)):
            over.wait(0.01)
        over.set()
        for thread in clients:
            thread.join(PATIENCE_S)
        daemon.stop()
    assert failures == []


@pytest.fixture
def no_models(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def _run(*overrides: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "edged",
        "run",
        "--config",
        str(SHIPPED_CONFIG),
        "--port",
        "0",
        *settings(*overrides),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, **(env or {})}
    )


def test_without_any_model_file_it_ends_with_4_and_says_what_to_do(
    no_models: Path, tmp_path: Path, systemd: Systemd
) -> None:
    done = _run(
        f"storage.model_dir={no_models}", f"storage.state_dir={tmp_path}",
        env={"NOTIFY_SOCKET": systemd.address},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "edged: no model could be loaded" in done.stderr
    assert "edged pull minilm" in done.stderr
    systemd.hear(lambda line: line.startswith("STATUS=no model could be loaded minilm: "))


def test_models_that_do_not_fit_end_it_with_1_for_memory_may_be_free_later(
    models: Path, tmp_path: Path
) -> None:
    done = _run(f"storage.model_dir={models}", f"storage.state_dir={tmp_path}", "memory.budget=1MiB")
    assert done.returncode == 1, done.stderr
    assert "no model could be loaded" in done.stderr
