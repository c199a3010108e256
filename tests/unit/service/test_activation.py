"""Sockets passed as systemd passes them: from descriptor 3 on, and kept open over restarts."""

import http.client
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edged.errors import ConfigError, PortTaken
from edged.service import activation
from edged.service.activation import listen
from tests.systemd_socket import command_with_sockets

PATIENCE_S = 20.0


class Service:
    """One life of a service, started by a simulated systemd."""

    def __init__(self, *sockets: socket.socket) -> None:
        self.process = subprocess.Popen(
            command_with_sockets(sockets, "-m", "tests.unit.service.activated"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            pass_fds=[sock.fileno() for sock in sockets],
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> str:
        """SIGTERM; returns what it says last."""
        self.process.send_signal(signal.SIGTERM)
        said, errors = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, errors
        return str(said).strip()


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """The socket that systemd holds."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def ask(sock: socket.socket, path: str = "/") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", sock.getsockname()[1], timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_passed_socket_is_served_and_its_address_printed(held: socket.socket) -> None:
    service = Service(held)
    assert service.line() == f"http://127.0.0.1:{held.getsockname()[1]} True"
    assert ask(held) == str(service.process.pid).encode()
    assert service.stop() == "drained"


def test_restarts_under_load_lose_no_request(held: socket.socket) -> None:
    """Some clients keep their connections, some make a new one for each request."""
    service = Service(held)
    service.line()
    over = threading.Event()
    answers: list[list[str]] = [[] for _ in range(6)]
    failures: list[str] = []

    def client(number: int) -> None:
        keeps = number % 2 == 0
        connection = http.client.HTTPConnection("127.0.0.1", held.getsockname()[1], timeout=PATIENCE_S)
        while not over.is_set():
            try:
                connection.request("GET", f"/?0.0{number}")
                answer = connection.getresponse()
                answers[number].append(answer.read().decode())
                if answer.status != 200:
                    failures.append(f"{number}: {answer.status}")
                if not keeps:
                    connection.close()
            except OSError as error:
                failures.append(f"{number}: {error!r}")
                connection.close()
        connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(len(answers))]
    for thread in clients:
        thread.start()
    pids = [service.process.pid]
    for _ in range(2):
        seen = [len(each) for each in answers]
        while not all(len(each) > before + 2 for each, before in zip(answers, seen, strict=True)):
            over.wait(0.01)
        assert service.stop() == "drained"
        service = Service(held)
        pids.append(service.process.pid)
        service.line()
    while not all(str(pids[-1]) in each for each in answers):
        over.wait(0.01)
    over.set()
    for thread in clients:
        thread.join(PATIENCE_S)
    assert service.stop() == "drained"
    assert failures == []
    assert {pid for each in answers for pid in each} == set(map(str, pids))


def test_what_connects_while_nothing_runs_is_served_by_the_next(held: socket.socket) -> None:
    first = Service(held)
    first.line()
    assert first.stop() == "drained"
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(held)))
    waiting.start()
    second = Service(held)
    waiting.join(PATIENCE_S)
    assert answers == [str(second.process.pid).encode()]
    second.line()
    assert second.stop() == "drained"


def test_the_last_answer_on_a_kept_connection_says_so_and_a_silent_one_is_let_go(held: socket.socket) -> None:
    service = Service(held)
    service.line()
    with ExitStack() as stack:
        connections = [
            http.client.HTTPConnection("127.0.0.1", held.getsockname()[1], timeout=PATIENCE_S)
            for _ in range(2)
        ]
        for connection in connections:
            stack.callback(connection.close)
            connection.request("GET", "/")
            assert connection.getresponse().read() == str(service.process.pid).encode()
        asking, silent = connections
        asking.request("GET", "/?0.3")
        service.process.send_signal(signal.SIGTERM)
        answer = asking.getresponse()
        assert (answer.status, answer.read()) == (200, str(service.process.pid).encode())
        assert answer.headers["Connection"] == "close"
        assert silent.sock is not None
        assert silent.sock.recv(1) == b""
    assert service.process.communicate(timeout=PATIENCE_S)[0].strip() == "drained"


def _pass(monkeypatch: pytest.MonkeyPatch, sock: socket.socket) -> dict[str, str]:
    """Pass a socket to this very process, where 3 is taken; returns what systemd would set."""
    monkeypatch.setattr(activation, "_FIRST_FD", sock.detach())
    return {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "edged.socket"}


def test_another_port_than_the_configured_is_said(
    held: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = held.getsockname()[1]
    environ = _pass(monkeypatch, held.dup())
    with listen("0.0.0.0", 8080, environ).sock as sock:
        assert sock.getsockname()[1] == port
        assert not sock.get_inheritable()
    assert environ == {}
    assert f"(edged.socket): 127.0.0.1 port {port}" in caplog.text
    assert "(0.0.0.0, 8080) are not used" in caplog.text


def test_every_network_is_the_same_by_either_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """systemd's `ListenStream=8080` gives an IPv6 socket that takes IPv4 as well."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port = both.getsockname()[1]
        listen("0.0.0.0", port, _pass(monkeypatch, both.dup())).sock.close()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_not_passed_to_us_is_not_taken_but_removed(environ: dict[str, str]) -> None:
    listening = listen("127.0.0.1", 0, environ)
    with listening.sock:
        assert not listening.activated
    assert environ == {}


@pytest.mark.parametrize("kind", ["unix", "udp", "connected"])
def test_a_socket_that_cannot_be_served_is_refused_with_what_to_write(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        if kind == "unix":
            passed = socket.socket(socket.AF_UNIX)
        elif kind == "udp":
            passed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        else:
            passed, other = socket.socketpair()
            stack.enter_context(other)
        with pytest.raises(ConfigError, match="ListenStream=PORT"):
            listen("127.0.0.1", 0, _pass(monkeypatch, passed))


def test_something_that_is_no_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = os.memfd_create("none")
    monkeypatch.setattr(activation, "_FIRST_FD", file)
    try:
        with pytest.raises(ConfigError, match="no socket"):
            listen("127.0.0.1", 0, {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    finally:
        os.close(file)


def test_several_sockets_are_refused(held: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        service = Service(held, other)
        _, errors = service.process.communicate(timeout=PATIENCE_S)
    assert service.process.returncode != 0
    assert "systemd passed 2 sockets" in errors


def test_without_systemd_the_port_is_bound(held: socket.socket) -> None:
    with pytest.raises(PortTaken):
        listen("127.0.0.1", held.getsockname()[1], {})
