"""Messages to systemd, received on a real datagram socket."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.service.notify import notify


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
