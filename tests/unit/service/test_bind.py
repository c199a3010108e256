"""Binding: what works, and what each failure tells the user to do."""

import errno
import os
import socket

import pytest

from edged.errors import PortTaken
from edged.service.bind import bind


def test_port_zero_takes_a_free_port_that_listens() -> None:
    with bind("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname()):
        assert sock.getsockname()[1] > 0
        assert not os.get_inheritable(sock.fileno())


def test_a_restart_gets_its_port_back_at_once() -> None:
    first = bind("127.0.0.1", 0)
    address = first.getsockname()
    with socket.create_connection(address), first.accept()[0]:
        first.close()
    bind(*address).close()


def test_a_taken_port_says_by_whom_and_what_to_change() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(PortTaken) as raised:
        bind("127.0.0.1", first.getsockname()[1])
    assert f"(pid {os.getpid()})" in str(raised.value)
    assert "server.port" in str(raised.value)


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("192.0.2.1", "no address 192.0.2.1; use 0.0.0.0"),
        ("no such host", "cannot resolve 'no such host'"),
        ("a" * 300, "cannot resolve"),
    ],
)
def test_a_wrong_host_says_what_to_use(host: str, hint: str) -> None:
    with pytest.raises(PortTaken, match=hint):
        bind(host, 0)


def test_a_privileged_port_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)  # the tests may run as root, who may bind it
    with pytest.raises(PortTaken, match="CAP_NET_BIND_SERVICE"):
        bind("127.0.0.1", 80)


def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    with bind("::", 0) as sock:
        socket.create_connection(("127.0.0.1", sock.getsockname()[1])).close()
