"""What systemd hears from the main loop, on a real datagram socket."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.errors import NoModelLoaded
from edged.service import watch as watch_module
from edged.service.signals import Signals
from edged.service.watch import News, Watch

PATIENCE_S = 20.0


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would read; it watches this process."""
    path = str(tmp_path / "notify")
    monkeypatch.setattr(watch_module, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(PATIENCE_S)
        yield sock


def heard(systemd: socket.socket) -> list[str]:
    """What has arrived."""
    messages = []
    systemd.settimeout(0.0)
    try:
        while True:
            messages.append(systemd.recv(4096).decode())
    except BlockingIOError:
        return messages


def script(*steps: Callable[[], News]) -> Callable[[], News]:
    """News, one after the other."""
    left = iter(steps)
    return lambda: next(left)()


def stop(status: str) -> Callable[[], News]:
    """The last news."""

    def last() -> News:
        os.kill(os.getpid(), signal.SIGTERM)
        return News(status)

    return last


def test_a_status_is_sent_when_it_changes_and_more_time_while_there_is_progress(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    news = script(
        lambda: News("loading", starting=True, extend_timeout_s=90.0),
        lambda: News("loading", starting=True),
        lambda: News("serving"),
        lambda: News("serving"),
        stop("serving"),
    )
    with Signals() as signals:
        assert Watch(signals, news, lambda: None).until_stop(lambda: None) == signal.SIGTERM
    assert heard(systemd) == ["STATUS=loading\nEXTEND_TIMEOUT_USEC=90000000", "STATUS=serving"]


def test_life_is_shown_only_while_everything_answers(
    systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    dead = iter([None, "HTTP has not answered", "HTTP has not answered", None])
    state: list[str | None] = []
    heard_then: list[list[str]] = []

    def what_is_dead() -> str | None:
        heard_then.append([message for message in heard(systemd) if "WATCHDOG" in message])
        state.append(next(dead))
        if len(state) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return state[-1]

    with Signals() as signals:
        Watch(signals, lambda: News("serving"), what_is_dead).until_stop(lambda: None)
    assert heard_then == [[], ["WATCHDOG=1"], [], []]
    assert heard(systemd) == ["WATCHDOG=1"]
    assert caplog.text.count("HTTP has not answered") == 1, "said once"


def test_a_start_that_fails_ends_the_loop(systemd: socket.socket) -> None:
    def fail() -> News:
        raise NoModelLoaded("no model could be loaded")

    with Signals() as signals, pytest.raises(NoModelLoaded):
        Watch(signals, fail, lambda: None).until_stop(lambda: None)


def test_a_hangup_is_passed_on_and_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    hung_up = []
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        watch = Watch(signals, lambda: News("serving"), lambda: None)
        assert watch.until_stop(lambda: hung_up.append(1)) == signal.SIGINT
    assert hung_up == [1]
