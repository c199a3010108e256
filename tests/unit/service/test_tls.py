"""TLS in front of the hardened server, over real sockets."""

import http.client
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.service.bind import bind
from edged.service.certificate import load
from edged.service.server import Limits, Server
from tests import certificates
from tests.certificates import Files

LIMITS = Limits(
    max_requests=4,
    max_connections=400,
    max_body_bytes=100_000,
    header_timeout_s=30.0,
    idle_timeout_s=30.0,
    answer_timeout_s=600.0,
)
PATIENCE_S = 20.0  # far longer than anything here takes; a test that waits this long has failed
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
LAST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
Start = Callable[..., Server]


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def start(files: Files) -> Iterator[Start]:
    """Starts servers that speak TLS with these limits, some changed, and closes them."""
    servers = []

    def start_server(app: Any, **changed: Any) -> Server:
        server = Server(bind("127.0.0.1", 0), msgspec.structs.replace(LIMITS, **changed))
        servers.append(server)
        server.set_tls(load(*files).secure)
        server.set_app(app)
        server.start()
        return server

    yield start_server
    for server in servers:
        server.close(timeout_s=0.1)


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the body it got."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def trusting(files: Files) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.certificate))


def plain(server: Server) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.settimeout(PATIENCE_S)
    return sock


def connect(server: Server, files: Files) -> ssl.SSLSocket:
    # a connection that ends without saying so is an error here
    context = trusting(files)
    return context.wrap_socket(plain(server), server_hostname="localhost", suppress_ragged_eofs=False)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the server says that it has ended."""
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def closed_by_server(sock: socket.socket) -> bool:
    try:
        return sock.recv(1 << 16) == b""
    except ConnectionResetError:
        return True


def test_a_client_that_trusts_the_certificate_is_served(start: Start, files: Files) -> None:
    server = start(echo)
    assert server.url == f"https://127.0.0.1:{server.port}"
    connection = http.client.HTTPSConnection(
        "localhost", server.port, context=trusting(files), timeout=PATIENCE_S
    )
    try:
        for body in (b"one", b"x" * 100_000, b""):  # on one connection
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.version() == "TLSv1.3"
    finally:
        connection.close()
    assert server.answers(PATIENCE_S)


def test_the_application_learns_how_it_is_called(start: Start, files: Files) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.url_scheme"].encode()]

    with connect(start(app), files) as sock:
        sock.sendall(LAST)
        assert b"https" in read_all(sock)


def test_who_speaks_plain_http_is_told_so(start: Start) -> None:
    with plain(start(echo)) as sock:
        sock.sendall(REQUEST)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 ")
    error = json.loads(body)["error"]
    assert error["code"] == "https_required"
    assert "https://" in error["message"]


def test_what_is_neither_is_closed_and_others_are_served(start: Start, files: Files) -> None:
    server = start(echo)
    with plain(server) as sock:
        sock.sendall(b"\x16\x03\x01\x00\x05hello, this is no handshake")
        assert sock.recv(1 << 16)[:1] == b"\x15"  # an alert
        assert closed_by_server(sock)
    with connect(server, files) as sock:
        sock.sendall(LAST)
        assert read_all(sock).endswith(b"\r\n\r\nhi")


def test_a_handshake_that_stalls_holds_up_nobody_and_is_cut_off(start: Start, files: Files) -> None:
    server = start(echo, header_timeout_s=1.0)
    stalled = [plain(server) for _ in range(50)]
    try:
        for sock in stalled:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        with connect(server, files) as sock:
            sock.sendall(LAST)
            assert read_all(sock).endswith(b"\r\n\r\nhi")
        assert all(closed_by_server(sock) for sock in stalled)
    finally:
        for sock in stalled:
            sock.close()


class Wire:
    """A client whose bytes go over the wire as the test says."""

    def __init__(self, sock: socket.socket, files: Files) -> None:
        self._sock = sock
        self._arrived, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting(files).wrap_bio(self._arrived, self._to_send, server_hostname="localhost")

    def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_bytewise()
                self._arrived.write(self._sock.recv(1 << 16))
            else:
                return

    def send_bytewise(self) -> None:
        for byte in self._to_send.read():
            self._sock.sendall(bytes([byte]))

    def exchange(self, request: bytes) -> bytes:
        self._tls.write(request)
        self.send_bytewise()
        answer = b""
        while True:
            try:
                piece = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._arrived.write(self._sock.recv(1 << 16))
                continue
            if not piece:
                return answer
            answer += piece


def test_every_byte_may_come_alone(start: Start, files: Files) -> None:
    with plain(start(echo)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock, files)
        wire.shake_hands()
        assert wire.exchange(LAST).endswith(b"\r\n\r\nhi")


def test_requests_sent_in_one_go_are_all_answered(start: Start, files: Files) -> None:
    with connect(start(echo), files) as sock:
        sock.sendall(REQUEST * 30 + LAST)
        assert read_all(sock).count(b"\r\n\r\nhi") == 31


def test_pieces_of_a_stream_arrive_as_they_are_made(start: Start, files: Files) -> None:
    seen = threading.Semaphore(0)

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        for number in range(5):
            yield b"data: %d\n\n" % number
            assert seen.acquire(timeout=PATIENCE_S)  # before the next one is made

    connection = http.client.HTTPSConnection(
        "localhost", start(app).port, context=trusting(files), timeout=PATIENCE_S
    )
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        for number in range(5):
            assert answer.readline() == b"data: %d\n" % number
            assert answer.readline() == b"\n"
            seen.release()
        assert answer.read() == b""
    finally:
        connection.close()


def test_a_slow_reader_gets_everything(start: Start, files: Files) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(50)]
    under_way = threading.Event()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(50 * 300_000))])
        for number, piece in enumerate(pieces):
            if number == 3:  # more than the client's socket takes
                under_way.set()
            yield piece

    with connect(start(app), files) as sock:
        sock.sendall(LAST)
        assert under_way.wait(PATIENCE_S)
        _, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert body == b"".join(pieces)


def test_reading_and_writing_at_once_keep_apart(start: Start, files: Files) -> None:
    """The loop decrypts requests while a thread encrypts the answer to an earlier one."""
    one = REQUEST.replace(b"Content-Length: 2\r\n\r\nhi", b"Content-Length: 50000\r\n\r\n") + b"y" * 50_000
    n_requests = 100
    to_send, n_received = memoryview(one * n_requests), 0
    with connect(start(echo), files) as sock:
        sock.setblocking(False)
        while n_received < n_requests * 50_000:
            readable, writable, _ = select.select([sock], [sock] if to_send else [], [], PATIENCE_S)
            assert readable or writable
            with suppress(ssl.SSLWantWriteError):
                to_send = to_send[sock.send(to_send[:4096]) :] if to_send else to_send
            with suppress(ssl.SSLWantReadError):
                n_received += sock.recv(1 << 16).count(b"y")
    assert n_received == n_requests * 50_000
    assert not to_send


def test_a_client_that_leaves_is_noticed_while_its_request_runs(start: Start, files: Files) -> None:
    started, noticed = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started.set()
        while not environ["waitress.client_disconnected"]():
            threading.Event().wait(0.01)
        noticed.set()
        return echo(environ, start_response)

    server = start(app)
    with connect(server, files) as sock:
        sock.sendall(REQUEST)
        assert started.wait(PATIENCE_S)
    assert noticed.wait(PATIENCE_S)


def test_a_body_over_the_limit_is_refused_readably_even_if_it_is_sent_whole(
    start: Start, files: Files
) -> None:
    with connect(start(echo), files) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        assert read_all(sock).startswith(b"HTTP/1.1 413 ")


def test_an_idle_connection_is_closed_after_its_time(start: Start, files: Files) -> None:
    server = start(echo, header_timeout_s=0.2, idle_timeout_s=0.3)
    with connect(server, files) as sock:
        sock.sendall(REQUEST)
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_old_protocols_are_refused(start: Start, files: Files) -> None:
    context = trusting(files)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with plain(start(echo)) as sock, pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        context.wrap_socket(sock, server_hostname="localhost")


def test_tls_1_2_is_spoken(start: Start, files: Files) -> None:
    context = trusting(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(plain(start(echo)), server_hostname="localhost") as sock:
        sock.sendall(LAST)
        assert read_all(sock).endswith(b"\r\n\r\nhi")


def test_a_new_certificate_is_shown_to_who_connects_from_then_on(
    start: Start, files: Files, tmp_path: Path
) -> None:
    server = start(echo)
    with connect(server, files) as before:
        renewed = certificates.make(tmp_path)
        server.set_tls(load(*renewed).secure)
        with connect(server, renewed) as sock:
            sock.sendall(LAST)
            assert read_all(sock).endswith(b"\r\n\r\nhi")
        before.sendall(LAST)
        assert read_all(before).endswith(b"\r\n\r\nhi")
    server.set_tls(None)
    with plain(server) as sock:
        sock.sendall(LAST)
        assert read_all(sock).endswith(b"\r\n\r\nhi")


def test_the_last_answer_ends_as_it_should_while_the_server_closes(start: Start, files: Files) -> None:
    started, free = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started.set()
        free.wait(PATIENCE_S)
        return echo(environ, start_response)

    server = start(app)
    with connect(server, files) as sock:
        sock.sendall(LAST)
        assert started.wait(PATIENCE_S)
        closing = threading.Thread(target=server.close, args=(PATIENCE_S,))
        closing.start()
        free.set()
        assert read_all(sock).endswith(b"\r\n\r\nhi")
        closing.join(PATIENCE_S)
    assert not closing.is_alive()
