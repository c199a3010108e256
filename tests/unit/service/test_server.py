"""The hardened server, over real sockets, with small WSGI applications behind it."""

import http.client
import json
import queue
import re
import resource
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import msgspec
import pytest
from waitress.server import TcpWSGIServer

from edged.service.bind import bind
from edged.service.channel import Channel
from edged.service.server import RESERVE_THREADS, Limits, Server

LIMITS = Limits(
    max_requests=4,
    max_connections=400,
    max_body_bytes=1000,
    header_timeout_s=30.0,
    idle_timeout_s=30.0,
    answer_timeout_s=600.0,
)
PATIENCE_S = 20.0  # far longer than anything here takes; a test that waits this long has failed
Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers with these limits, some changed, and closes them."""
    servers = []

    def start_server(app: Any = None, **changed: Any) -> Server:
        server = Server(bind("127.0.0.1", 0), msgspec.structs.replace(LIMITS, **changed))
        servers.append(server)
        if app is not None:
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


def connect(server: Server) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.settimeout(PATIENCE_S)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Everything until the server closes; fails if it does not."""
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def exchange(server: Server, raw: bytes) -> bytes:
    with connect(server) as sock:
        sock.sendall(raw)
        return read_all(sock)


def get(server: Server, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def closed_by_server(sock: socket.socket) -> bool:
    """Waits for the server to end the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_livez_answers_before_there_is_an_application(start: Start) -> None:
    server = start()
    assert get(server, "/livez") == (200, b'{"status":"ok"}')
    assert get(server, "/livez", "HEAD") == (200, b"")


def test_livez_refuses_other_methods_and_names_those_it_takes(start: Start) -> None:
    answer = exchange(start(), b"POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


def test_requests_wait_for_the_application(start: Start) -> None:
    server = start()
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert get(server, "/livez")[0] == 200
        server.set_app(echo)
        assert read_all(sock).endswith(b"\r\n\r\nhi")


def test_without_an_application_in_time_the_answer_is_503() -> None:
    server = Server(bind("127.0.0.1", 0), LIMITS, app_wait_s=0.01)
    server.start()
    try:
        status, body = get(server, "/v1/models")
    finally:
        server.close(timeout_s=0.1)
    assert (status, json.loads(body)["error"]["code"]) == (503, "starting")


def test_livez_answers_while_a_crowd_waits_for_the_application(start: Start) -> None:
    server = start(max_requests=2)
    waiting = [connect(server) for _ in range(20)]
    try:
        for sock in waiting:
            sock.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert get(server, "/livez")[0] == 200
    finally:
        server.set_app(echo)
        for sock in waiting:
            sock.close()


def test_there_are_threads_left_when_every_working_request_is_busy(start: Start) -> None:
    free = threading.Event()
    busy = threading.Semaphore(0)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/work":
            busy.release()
            free.wait(PATIENCE_S)
        return echo(environ, start_response)

    server = start(app)
    working = [connect(server) for _ in range(LIMITS.max_requests)]
    try:
        for sock in working:
            sock.sendall(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
            assert busy.acquire(timeout=PATIENCE_S)
        for _ in range(RESERVE_THREADS + 1):
            assert get(server, "/metrics")[0] == 200
    finally:
        free.set()
        for sock in working:
            sock.close()


def test_a_client_that_leaves_is_noticed_while_its_request_runs(start: Start) -> None:
    started = threading.Event()
    noticed: queue.Queue[bool] = queue.Queue()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started.set()
        gone = environ["waitress.client_disconnected"]
        noticed.put(any(gone() for _ in iter(lambda: threading.Event().wait(0.01), None)))
        return echo(environ, start_response)

    server = start(app)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert started.wait(PATIENCE_S)
    assert noticed.get(timeout=PATIENCE_S)


def test_an_answer_is_sent_in_one_piece_and_the_loop_sleeps_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    woken: list[object] = []
    real_send, real_wake = cast("Any", Channel).send, cast("Any", TcpWSGIServer).pull_trigger

    def send(channel: Channel, piece: bytes, do_close: bool = True) -> int:
        sent.append(piece)
        return int(real_send(channel, piece, do_close))

    def wake(server: Any) -> None:
        woken.append(server)
        real_wake(server)

    monkeypatch.setattr(Channel, "send", send)
    monkeypatch.setattr(TcpWSGIServer, "pull_trigger", wake)
    server = start(echo)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        for body in (b"one", b"two"):
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
    finally:
        connection.close()
    assert [piece.startswith(b"HTTP/1.1 200") for piece in sent] == [True, True]
    assert [piece[-3:] for piece in sent] == [b"one", b"two"]
    assert woken == []


def test_requests_sent_in_one_go_are_all_answered(start: Start) -> None:
    one = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = exchange(start(echo), one + b"1" + one + b"2" + one + b"3" + last + b"4")
    assert [answer[-1:] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"2", b"3", b"4"]


def test_a_header_that_trickles_in_is_cut_off(start: Start) -> None:
    server = start(echo, header_timeout_s=0.4)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        sock.settimeout(0.1)
        for _ in range(int(PATIENCE_S / 0.1)):
            try:
                if sock.recv(1) == b"":
                    break
            except TimeoutError:
                sock.sendall(b"x")  # always making some progress
            except ConnectionResetError:
                break
        else:
            pytest.fail("a client that sends a byte now and then kept its connection")


def test_a_connection_that_says_nothing_is_cut_off(start: Start) -> None:
    server = start(echo, header_timeout_s=0.2)
    with connect(server) as sock:
        assert closed_by_server(sock)


def test_a_body_that_stalls_is_cut_off_and_never_reaches_the_application(start: Start) -> None:
    reached = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        reached.set()
        return echo(environ, start_response)

    server = start(app, header_timeout_s=0.2, idle_timeout_s=0.3)
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nhalf")
        assert closed_by_server(sock)
    assert not reached.is_set()


def test_an_idle_connection_is_closed_after_its_time(start: Start) -> None:
    server = start(echo, header_timeout_s=0.2, idle_timeout_s=0.3)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_a_reader_that_stops_reading_loses_its_connection_and_frees_its_thread(start: Start) -> None:
    ended = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            ended.set()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    server = start(app, header_timeout_s=0.2, idle_timeout_s=0.3)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ended.wait(PATIENCE_S)


def test_a_reader_that_takes_a_little_now_and_then_is_not_waited_for_for_ever(start: Start) -> None:
    """Each byte renews the time that a silent connection has, but not that of the whole answer."""
    ended = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            ended.set()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    server = start(app, header_timeout_s=0.2, idle_timeout_s=PATIENCE_S, answer_timeout_s=0.5)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + PATIENCE_S
        while not ended.wait(0.05) and time.monotonic() < deadline:
            sock.recv(1 << 16)
    assert ended.is_set()


def test_hundreds_of_half_open_clients_do_not_block_service(start: Start) -> None:
    server = start(echo)
    half_open = [connect(server) for _ in range(200)]
    try:
        for sock in half_open:
            sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert get(server, "/", "POST", b"hello") == (200, b"hello")
    finally:
        for sock in half_open:
            sock.close()


def test_at_the_connection_limit_the_longest_waiting_make_room(start: Start) -> None:
    server = start(echo, max_connections=30)
    half_open = [connect(server) for _ in range(100)]
    try:
        assert get(server, "/", "POST", b"hello") == (200, b"hello")
        assert closed_by_server(half_open[0])
    finally:
        for sock in half_open:
            sock.close()


def test_a_body_over_the_limit_is_refused_readably_even_if_it_is_sent_whole(start: Start) -> None:
    server = start(echo)
    for size in (1001, 3_000_000):  # the second does not fit into the sockets' buffers
        status, body = get(server, "/", "POST", b"x" * size)
        assert status == 413
        assert json.loads(body)["error"]["code"] == "body_too_large"
        assert "1000 bytes" in json.loads(body)["error"]["message"]
    assert get(server, "/", "POST", b"x" * 1000)[0] == 200


def test_a_chunked_body_over_the_limit_is_refused(start: Start) -> None:
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(start(echo), head + chunk * 5 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_malformed_http_is_answered_in_the_error_shape(start: Start, raw: bytes, status: bytes) -> None:
    head, _, body = exchange(start(echo), raw).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert re.search(rb"\r\nX-Request-Id: [0-9a-f]{16}$", head)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert b"waitress" not in head + body


@pytest.mark.parametrize("line", [b"Authorization: Bearer se\ncret", b" Authorization: Bearer secret"])
def test_what_is_wrong_with_a_header_is_said_without_repeating_it(
    start: Start, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    head, _, body = exchange(
        start(echo), b"GET / HTTP/1.1\r\n" + line + b"\r\nX-Request-Id: mine\r\n\r\n"
    ).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert b"Bearer" not in body
    [refused] = [record for record in caplog.records if record.name == "edged.service.channel"]
    assert "Bearer" not in caplog.text
    assert f"X-Request-Id: {vars(refused)['REQUEST_ID']}".encode() in head


def test_who_speaks_tls_is_told_at_once_that_nobody_does_here(start: Start) -> None:
    server = start(echo)
    with connect(server) as sock, pytest.raises(ssl.SSLError, match=r"(?i)wrong version number"):
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
    answer = exchange(server, b"\x16\x03\x01\x02\x00\x01")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "http_required"


def test_more_bytes_than_content_length_says_are_not_part_of_the_body(start: Start) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi and more"
    assert exchange(start(echo), raw).endswith(b"\r\n\r\nhi")


def test_urgent_data_ends_the_connection(start: Start) -> None:
    """HTTP has none, and waitress would spin on it for as long as the connection lasts."""
    server = start(echo)
    with connect(server) as sock:
        sock.send(b"!", socket.MSG_OOB)
        assert closed_by_server(sock)
    assert get(server, "/", "POST", b"hello") == (200, b"hello")


def test_an_exception_in_the_application_shows_no_internals(start: Start) -> None:
    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("secret")

    status, body = get(start(app), "/")
    assert status == 500
    assert b"secret" not in body
    assert json.loads(body)["error"]["code"] == "internal_error"


def test_forwarded_headers_are_not_trusted(start: Start) -> None:
    seen: queue.Queue[dict[str, Any]] = queue.Queue()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.put(environ)
        return echo(environ, start_response)

    exchange(
        start(app),
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: y\r\n"
        b"Connection: close\r\n\r\n",
    )
    environ = seen.get(timeout=PATIENCE_S)
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert not [name for name in environ if "FORWARDED" in name]


def test_close_lets_a_running_request_end(start: Start) -> None:
    started, free = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started.set()
        free.wait(PATIENCE_S)
        return echo(environ, start_response)

    server = start(app)
    with connect(server) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast")
        assert started.wait(PATIENCE_S)
        closing = threading.Thread(target=server.close, args=(PATIENCE_S,))
        closing.start()
        free.set()
        assert read_all(sock).endswith(b"\r\n\r\nlast")
        closing.join(PATIENCE_S)
    assert not closing.is_alive()


def test_unfinished_uploads_hold_a_bounded_amount_of_memory(start: Start) -> None:
    server = start(echo, header_timeout_s=0.4)  # looks every 0.1 s
    uploads = [connect(server) for _ in range(12)]
    try:
        for sock in uploads:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900)
        ready, _, _ = select.select(uploads, [], [], PATIENCE_S)
        assert ready
        assert closed_by_server(ready[0])
    finally:
        for sock in uploads:
            sock.close()


def test_drain_waits_for_running_requests_and_answers_others(start: Start) -> None:
    started, free = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/work":
            started.set()
            free.wait(PATIENCE_S)
        return echo(environ, start_response)

    server = start(app)
    with connect(server) as sock:
        sock.sendall(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
        assert started.wait(PATIENCE_S)
        assert not server.drain(0.05)
        assert get(server, "/livez")[0] == 200
        free.set()
        assert server.drain(PATIENCE_S)


def test_after_stop_accepting_idle_connections_end_and_new_ones_are_refused(start: Start) -> None:
    server = start(echo)
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        server.stop_accepting()
        assert closed_by_server(sock)
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_close_without_start_frees_the_port() -> None:
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    Server(sock, LIMITS).close()
    bind("127.0.0.1", port).close()


def test_a_low_limit_on_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        Server(bind("127.0.0.1", 0), msgspec.structs.replace(LIMITS, max_connections=500)).close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 500 + 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ipv6() -> None:
    server = Server(bind("::1", 0), LIMITS)
    server.start()
    try:
        assert server.url == f"http://[::1]:{server.port}"
        with socket.create_connection(("::1", server.port)) as sock:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.1 200")
    finally:
        server.close(timeout_s=0.1)


def test_it_tells_whether_it_answers(start: Start) -> None:
    server = start()
    assert server.answers(PATIENCE_S)
    server.set_app(echo)
    assert server.answers(PATIENCE_S)


def test_it_answers_itself_though_strangers_hold_every_connection(start: Start) -> None:
    server = start(echo, max_connections=8)
    crowd = [connect(server) for _ in range(12)]
    try:
        assert server.answers(PATIENCE_S)
    finally:
        for sock in crowd:
            sock.close()


def test_a_server_whose_threads_are_all_stuck_does_not_answer(start: Start) -> None:
    free = threading.Event()
    stuck = threading.Semaphore(0)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        stuck.release()
        free.wait(PATIENCE_S)
        return echo(environ, start_response)

    server = start(app)
    working = [connect(server) for _ in range(LIMITS.max_requests + RESERVE_THREADS)]
    try:
        for sock in working:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stuck.acquire(timeout=PATIENCE_S)
        assert not server.answers(0.2)
        free.set()
        assert server.answers(PATIENCE_S)
    finally:
        free.set()
        for sock in working:
            sock.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_while_it_retires_every_answer_is_the_last_on_its_connection(start: Start, version: str) -> None:
    server = start(echo)
    server.retire(keep_accepting=True)
    raw = f"GET / HTTP/{version}\r\nHost: x\r\nConnection: keep-alive\r\n\r\n".encode()
    answer = exchange(server, raw)
    assert b" 200 OK\r\n" in answer
    assert answer.lower().count(b"\r\nconnection: ") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_a_drain_tells_how_many_requests_are_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    busy = threading.Semaphore(0)
    told: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        busy.release()
        free.wait(PATIENCE_S)
        return echo(environ, start_response)

    def tell(n_working: int) -> None:
        told.append(n_working)
        free.set()

    server = start(app)
    with connect(server) as first, connect(server) as second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert busy.acquire(timeout=PATIENCE_S)
        assert not server.drain(0.0)
        server.retire(keep_accepting=False)
        assert server.drain(PATIENCE_S, tell)
        assert told[0] == 2
        for sock in (first, second):
            assert b"\r\nConnection: close\r\n" in read_all(sock)


def test_limits_change_while_it_serves(start: Start) -> None:
    server = start(echo)
    with connect(server) as before:
        server.set_limits(msgspec.structs.replace(LIMITS, max_body_bytes=10, header_timeout_s=0.2))
        assert get(server, "/", "POST", b"x" * 11)[0] == 413
        assert get(server, "/", "POST", b"x" * 10) == (200, b"x" * 10)
        before.sendall(b"GET / HT")
        assert closed_by_server(before)
    server.set_limits(msgspec.structs.replace(LIMITS, max_requests=9))
    assert get(server, "/", "POST", b"x" * 11)[0] == 200
    assert len(server._dispatcher.threads) == 9 + RESERVE_THREADS
