"""A real daemon with real models that is told to reload: by signal, and by `edged reload`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import PATIENCE_S, Daemon

FILE = """\
# what this box serves
storage:
  model_dir: {models}
  state_dir: {state}
models:
  minilm:
    file: minilm.gguf  # for search
  smollm2:
    file: smollm2.gguf
    n_ctx: 1024
"""


class Box:
    """A configuration file, and a daemon that runs by it."""

    def __init__(self, models: Path, folder: Path) -> None:
        self.file = folder / "edged.yaml"
        self.file.write_text(FILE.format(models=models, state=folder / "state"))
        self._env = {**os.environ, "RUNTIME_DIRECTORY": str(folder / "run")}
        self.daemon = Daemon(self.file, env=self._env)

    def edged(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb, as a user runs it."""
        command = [sys.executable, "-m", "edged", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=self._env)

    def set(self, path: str, value: str) -> subprocess.CompletedProcess[str]:
        """`edged config set`."""
        return self.edged("config", "set", "--config", str(self.file), path, value)


@pytest.fixture
def box(models: Path, tmp_path: Path) -> Iterator[Box]:
    box = Box(models, tmp_path)
    with box.daemon:
        box.daemon.wait_ready()
        yield box


def test_a_changed_model_is_loaded_anew_while_the_other_one_answers_all_the_time(box: Box) -> None:
    pids = {name: box.daemon.model(name)["pid"] for name in ("minilm", "smollm2")}
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            statuses.append(box.daemon.embed("all the time")[0])
            statuses.append(box.daemon.chat("Hello")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    done = box.set("models.smollm2.n_ctx", "512")
    assert (done.returncode, done.stderr) == (0, "")
    reloaded = box.edged("reload")
    over.set()
    asking.join(PATIENCE_S)
    assert (reloaded.returncode, reloaded.stderr) == (0, "")
    assert reloaded.stdout == "reloaded: models.smollm2.n_ctx: 1024 → 512\n"
    assert statuses
    assert set(statuses) == {200}
    assert box.daemon.model("minilm")["pid"] == pids["minilm"]
    smollm2 = box.daemon.model("smollm2")
    assert (smollm2["state"], smollm2["n_ctx"], smollm2["pid"] != pids["smollm2"]) == ("ready", 512, True)
    assert box.file.read_text().startswith("# what this box serves\n")


def test_a_wrong_file_changes_nothing_and_the_command_fails_with_why(box: Box) -> None:
    before = box.daemon.model("smollm2")["pid"]
    box.file.write_text(box.file.read_text().replace("n_ctx: 1024", "n_ctx: lots"))
    failed = box.edged("reload")
    why = f'{box.file}: models.smollm2.n_ctx: expected a positive integer, got "lots"'
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"edged: {why}")
    box.daemon.wait_for_line(f"reload failed: {why}")
    assert box.daemon.model("smollm2")["pid"] == before
    assert box.daemon.chat("Hello")[0] == 200


def test_limits_reach_a_real_runner_while_it_works(box: Box) -> None:
    pid = box.daemon.model("smollm2")["pid"]
    assert box.set("models.smollm2.max_queue_requests", "1").returncode == 0
    assert box.edged("reload").returncode == 0
    status, answer = box.daemon.chat("Hello", n=40)
    assert (status, answer["error"]["param"]) == (400, "n")
    assert box.daemon.model("smollm2")["pid"] == pid


def test_a_hangup_reloads_and_keys_do_not_matter_to_the_command(box: Box) -> None:
    box.file.write_text(box.file.read_text() + "access:\n  api_keys: [a-key-that-is-long-enough]\n")
    box.daemon.process.send_signal(signal.SIGHUP)
    box.daemon.wait_for_line("reloaded: access.api_keys: changed")
    assert box.daemon.embed("without a key")[0] == 401
    box.file.write_text(box.file.read_text().split("access:")[0])
    assert box.edged("reload").returncode == 0
    assert box.daemon.embed("without a key")[0] == 200
    assert box.daemon.stop() == 0
    assert not (box.file.parent / "run" / "control.sock").exists()
