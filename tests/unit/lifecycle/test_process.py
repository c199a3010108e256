"""Real processes that behave badly."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from edged.errors import RunnerFailed
from edged.lifecycle import process as process_module
from edged.lifecycle.process import RunnerProcess, lazy_map_library
from edged.runner import protocol

SHORT_S = 0.2


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_STOP_S", SHORT_S)
    monkeypatch.setattr(process_module, "_SEND_TIMEOUT_S", SHORT_S)


def test_a_runner_that_has_closed_but_does_not_die_is_not_waited_for_for_ever() -> None:
    process = RunnerProcess("tests.unit.lifecycle.rude", ())
    assert list(process.events(lambda: None)) == ["closed"]
    assert process.close() == -signal.SIGKILL


def test_a_runner_that_takes_only_half_a_frame_is_ended() -> None:
    """What is sent after it would be read as the rest of that frame."""
    process = RunnerProcess("edged.runner.fake", ())
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(RunnerFailed, match="does not take requests"):
        process.send(protocol.Generate(id=1, text="x" * (8 << 20)))
    assert list(process.events(lambda: None)) == []
    assert process.close() == -signal.SIGKILL


def test_whoever_asks_for_patience_may_end_it() -> None:
    process = RunnerProcess("edged.runner.fake", ())
    assert list(process.events(lambda: 0.0)) == []
    process.kill()
    assert process.close() == -signal.SIGKILL


def test_the_lazy_map_is_preloaded_from_a_folder_whose_name_splits_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = lazy_map_library()
    assert compiled is not None
    folder = tmp_path / "my models:$ORIGIN"
    folder.mkdir()
    library = Path(shutil.copy(compiled, folder))
    monkeypatch.setattr(process_module, "lazy_map_library", lambda: library)
    process = RunnerProcess("tests.unit.lifecycle.rude", ())
    try:
        assert next(process.events(lambda: None)) == "closed"
        assert str(library) in Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.close()


def _environment_of_a_runner() -> list[str]:
    process = RunnerProcess("tests.unit.lifecycle.rude", ())
    try:
        assert next(process.events(lambda: None)) == "closed"
        return Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    finally:
        process.close()


def test_compute_threads_spin_shortly_unless_the_administrator_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spins() -> str:
        found = [entry for entry in _environment_of_a_runner() if entry.startswith("GOMP_SPINCOUNT=")]
        return found[0] if found else "libgomp's own"

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert spins() == ("GOMP_SPINCOUNT=50000" if os.uname().machine == "x86_64" else "libgomp's own")
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    assert spins() == "GOMP_SPINCOUNT=77"


@pytest.mark.parametrize("name", ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"])
def test_what_systemd_tells_the_daemon_is_not_for_runners(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not [entry for entry in _environment_of_a_runner() if entry.startswith(name)]
