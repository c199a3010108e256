"""The daemon as a service: exit codes, systemd's messages, what is printed and what is never logged."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import SHIPPED_CONFIG
from tests.e2e.daemon import PATIENCE_S, Daemon

Start = Callable[..., Daemon]


def _edged(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edged", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_wrong_configuration_ends_with_2_and_names_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "edged.yaml"
    path.write_text("server: {port: lots}\nmodels: {minilm: {file: x.gguf, n_ctx: lots}}\n")
    done = _edged("run", "--config", str(path))
    assert done.returncode == 2
    port, n_ctx = done.stderr.splitlines()
    assert port.startswith(f"edged: {path}: server.port: expected ")
    assert n_ctx.startswith(f'edged: {path}: models.minilm.n_ctx: expected a positive integer, got "lots"')


def test_a_taken_port_ends_with_3_and_says_what_to_do_also_to_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        port = taken.getsockname()[1]
        done = _edged("run", "--config", str(SHIPPED_CONFIG), "--port", str(port))
        status, number = systemd.recv(4096).decode().splitlines()
    assert done.returncode == 3
    assert f"port {port} on 127.0.0.1 is taken" in status
    assert number == f"ERRNO={errno.EADDRINUSE}"
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_prompts_nor_answers_reach_the_log(start: Start) -> None:
    daemon = start("logging.level=debug")
    daemon.wait_ready()
    secret = "xylophonequartz"
    _, answer = daemon.chat(f"Repeat the word {secret}.")
    daemon.embed(secret)
    daemon.chat(secret, grammar=f'root ::= "{secret}')
    said = answer["choices"][0]["message"]["content"]
    assert daemon.stop() == 0
    log = "".join(daemon.output)
    assert "smollm2" in log
    assert secret not in log
    assert said not in log


def test_life_is_shown_before_models_and_readiness_comes_with_them(start: Start) -> None:
    daemon = start()
    assert daemon.call("GET", "/livez")[0] == 200
    assert daemon.call("GET", "/readyz")[0] in (200, 503)
    daemon.wait_ready()
    assert daemon.call("GET", "/health") == (200, {"status": "ok"})


def test_a_request_during_the_load_waits_for_it(start: Start) -> None:
    daemon = start("loading.request_wait=60s")
    assert daemon.chat("hello", max_tokens=2)[0] == 200


def test_a_request_that_cannot_wait_long_enough_gets_503_with_a_time(start: Start) -> None:
    daemon = start("loading.request_wait=1ms", "models.smollm2.preload=false")
    status, answer = daemon.chat("hello", max_tokens=2)
    assert status == 503
    assert "loading" in answer["error"]["message"]
    daemon.wait_until(
        "/edged/v1/models",
        lambda _s, body: any(m["model"] == "smollm2" and m["state"] == "ready" for m in body["models"]),
    )
    assert daemon.chat("hello", max_tokens=2)[0] == 200


@pytest.mark.parametrize("verb", ["check-config", "plan"])
def test_the_shipped_configuration_stands(models: Path, verb: str) -> None:
    arguments = [str(SHIPPED_CONFIG)] if verb == "check-config" else ["--config", str(SHIPPED_CONFIG)]
    done = _edged(verb, *arguments)
    assert done.returncode == 0, done.stderr
    assert "minilm" in done.stdout
    assert "smollm2" in done.stdout


def test_a_runner_leaves_no_files_behind(start: Start, tmp_path: Path) -> None:
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    daemon = start()
    daemon.wait_ready()
    assert daemon.stop() == 0
    after = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert after <= before
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["calibration.json"]
