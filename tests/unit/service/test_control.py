"""Commands over the Unix socket, from the asking side to the answering one."""

import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edged.errors import EdgedError
from edged.service import control
from edged.service.control import Answer, Control, ask, folders


@contextmanager
def serving(folder: Path, **commands: Callable[[], str]) -> Iterator[dict[str, str]]:
    """A control socket in a folder; gives the environment to find it by."""
    with listening_as({"RUNTIME_DIRECTORY": str(folder)}, commands) as environ:
        yield environ


@contextmanager
def listening_as(
    environ: dict[str, str],
    commands: dict[str, Callable[[], str]],
    roots: dict[str, Callable[[str], str]] | None = None,
) -> Iterator[dict[str, str]]:
    listening = Control(commands, roots or {})
    listening.open(environ)
    try:
        yield environ
    finally:
        listening.close()


def test_the_answer_comes_when_the_command_is_done(tmp_path: Path) -> None:
    begun, done = threading.Event(), threading.Event()
    answers: list[Answer] = []

    def slow() -> str:
        begun.set()
        assert done.wait(20)
        return "all of it"

    with serving(tmp_path, reload=slow) as environ:
        asking = threading.Thread(target=lambda: answers.append(ask("reload", environ)))
        asking.start()
        assert begun.wait(20)
        assert not answers
        done.set()
        asking.join(20)
    assert answers == [Answer(failed=False, said="all of it")]


def test_why_a_command_failed_is_told(tmp_path: Path) -> None:
    def fails() -> str:
        raise EdgedError("line one\nline two")

    def breaks() -> str:
        raise ValueError("a mistake")

    with serving(tmp_path, fails=fails, breaks=breaks) as environ:
        assert ask("fails", environ) == Answer(failed=True, said="line one\nline two")
        assert "a mistake" in ask("breaks", environ).said
        assert ask("nothing", environ) == Answer(failed=True, said="unknown command 'nothing'")


def test_only_the_daemons_user_and_root_may_connect(tmp_path: Path) -> None:
    with serving(tmp_path):
        mode = (tmp_path / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / "control.sock").exists()


def test_what_a_killed_daemon_left_is_replaced_and_a_living_ones_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    with serving(tmp_path, who=lambda: "first") as environ:
        with serving(tmp_path, who=lambda: "second"):
            assert "reload with SIGHUP instead" in caplog.text
            assert ask("who", environ).said == "first"
        assert ask("who", environ).said == "first"


def test_nobody_to_ask_is_an_error_that_names_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SYSTEM_FOLDER", tmp_path / "system")  # an edged may run on this machine
    with pytest.raises(EdgedError, match=str(tmp_path / "control.sock")):
        ask("reload", {"RUNTIME_DIRECTORY": str(tmp_path)})


def test_a_daemon_that_ends_before_it_answers_is_an_error(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    with listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(EdgedError, match="ended before it had answered"):
            ask("reload", {"RUNTIME_DIRECTORY": str(tmp_path)})
        thread.join(20)


def test_a_place_that_cannot_be_had_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path / ("long" * 30)):
        assert "too long" in caplog.text


def test_the_places_from_near_to_far() -> None:
    assert folders({}) == (Path("/run/edged"),)
    assert folders({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"}) == (
        Path("/run/a"),
        Path("/run/user/7/edged"),
        Path("/run/edged"),
    )
    assert folders({"XDG_RUNTIME_DIR": "relative"}) == (Path("/run/edged"),)


def test_the_services_own_folder_is_used_whoever_the_service_runs_as(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(control, "SYSTEM_FOLDER", tmp_path)
    assert folders({"RUNTIME_DIRECTORY": str(tmp_path)}) == (tmp_path,)
    with serving(tmp_path, who=lambda: "the service"):
        assert ask("who", {}).said == "the service"


def test_a_text_comes_along_whole(tmp_path: Path) -> None:
    text = "tablet use sha256:…\n" * 5000
    with listening_as({"XDG_RUNTIME_DIR": str(tmp_path)}, {}, {"keys": lambda taken: taken}) as environ:
        assert ask("keys", environ, text) == Answer(failed=False, said=text)
        assert ask("keys", environ).said == ""


def test_an_older_client_that_sends_no_length_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, reload=lambda: "done"), socket.socket(socket.AF_UNIX) as older:
        older.settimeout(20)
        older.connect(str(tmp_path / "control.sock"))
        older.sendall(b"reload\n")
        assert older.recv(100) == b'{"failed":false,"said":"done"}\n'


@pytest.mark.parametrize(
    ("user", "as_service", "allowed"), [(0, True, True), (0, False, True), (7, True, False), (7, False, True)]
)
def test_a_taken_over_runner_of_the_service_does_not_get_what_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, as_service: bool, allowed: bool
) -> None:
    """It runs as the service's user, and may use Unix sockets."""
    folder = "RUNTIME_DIRECTORY" if as_service else "XDG_RUNTIME_DIR"
    monkeypatch.setattr(control.os, "geteuid", lambda: 7)  # type: ignore[attr-defined]
    monkeypatch.setattr(control, "_user_of", lambda _: user)
    commands = {"reload": lambda: "done"}
    with listening_as({folder: str(tmp_path)}, commands, {"key": lambda _: "secret"}) as environ:
        answer = ask("key", environ)
        assert ask("reload", environ).said == "done"
    assert answer.failed is not allowed
    assert ("secret" in answer.said) is allowed
