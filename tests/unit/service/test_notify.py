"""Messages to systemd, received on a real datagram socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.service.notify import is_heard, notify, watchdog_s


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would read."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def test_ready_with_a_status(systemd: socket.socket) -> None:
    notify(ready=True, status="serving 2 models")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=serving 2 models"


def test_stopping(systemd: socket.socket) -> None:
    notify(stopping=True)
    assert systemd.recv(4096) == b"STOPPING=1"


def test_a_reload_says_when_it_began(systemd: socket.socket) -> None:
    before_us = time.monotonic_ns() // 1000
    notify(reloading=True)
    first, second = systemd.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.monotonic_ns() // 1000


def test_life_more_time_and_why_it_fails(systemd: socket.socket) -> None:
    notify(watchdog=True, extend_timeout_s=1.5, errno=98)
    assert systemd.recv(4096) == b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1500000\nERRNO=98"


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", "own", 30.0),
        ("30000000", None, 30.0),
        ("30000000", "1", None),
        ("0", "own", None),
        ("", "own", None),
        ("-5", "own", None),
        ("soon", "own", None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_for_the_process_it_names(
    usec: str | None, pid: str | None, interval_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_s() == interval_s


def test_it_knows_whether_anybody_listens(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_heard()
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not is_heard()


def test_a_line_break_in_a_status_cannot_start_another_message(systemd: socket.socket) -> None:
    notify(status="broken\nREADY=1\r\nx")
    assert systemd.recv(4096) == b"STATUS=broken READY=1 x"


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(b"\0edged-test-" + str(id(sock)).encode())
        sock.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + sock.getsockname()[1:].decode())
        notify(ready=True)
        assert sock.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "x" * 300, "@"])
def test_it_never_raises(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify(ready=True, status="\ud800")


def test_outside_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_args: object) -> socket.socket:
        raise AssertionError("a socket was made")

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", no_socket)
    notify(ready=True)
