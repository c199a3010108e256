"""How requests are framed, over real sockets: whatever comes in whatever pieces, bodies are told apart."""

import logging
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.service.bind import bind
from edged.service.certificate import load
from edged.service.server import Limits, Server
from tests import certificates
from tests.certificates import Files

PATIENCE_S = 20.0  # far longer than anything here takes
LIMITS = Limits(
    max_requests=4,
    max_connections=400,
    max_body_bytes=10_000,
    header_timeout_s=PATIENCE_S,
    idle_timeout_s=PATIENCE_S,
    answer_timeout_s=600.0,
)
HOST = b"Host: localhost\r\n"
END = b"GET /end HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
# 505 and the like: what is refused before it becomes a request
REFUSALS = {400, 413, 431, 501, 505}
_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?Content-Length: (\d+)\r\n", re.I)

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Echoing:
    """A server that answers with path and body, and what it and its loop have seen."""

    def __init__(self, files: Files | None = None) -> None:
        """With the `files` of TLS, it speaks that."""
        self.paths: list[str] = []
        self.failures: list[str] = []
        self._trusting = files and ssl.create_default_context(cafile=str(files.certificate))
        self.server = Server(bind("127.0.0.1", 0), LIMITS)
        self.server.set_tls(load(*files).secure if files else None)
        self.server.set_app(self._answer)
        self.server.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        body = environ["PATH_INFO"].encode() + b" " + environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def exchange(self, pieces: Iterable[bytes]) -> bytes:
        """Send these one after the other; returns everything until the server closes, which it must."""
        with self._connect() as sock:
            received = []
            with suppress(BrokenPipeError, ConnectionResetError):  # it may close before all is sent
                for piece in pieces:
                    sock.sendall(piece)
                while piece := sock.recv(1 << 16):
                    received.append(piece)
            return b"".join(received)

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.server.port))
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._trusting.wrap_socket(sock, server_hostname="localhost") if self._trusting else sock


@pytest.fixture(name="secured", scope="module")
def _secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echoing]:
    secured = Echoing(certificates.make(tmp_path_factory.mktemp("tls")))
    yield secured
    secured.server.close(timeout_s=0.1)


@pytest.fixture(name="echoing", scope="module")
def _echoing() -> Iterator[Echoing]:
    echoing = Echoing()
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: echoing.failures.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("waitress").addHandler(handler)
    yield echoing
    logging.getLogger("waitress").removeHandler(handler)
    echoing.server.close(timeout_s=0.1)


class Answer(NamedTuple):
    """One answer on a connection."""

    status: int
    body: bytes


def answers(raw: bytes) -> list[Answer]:
    """A connection's answers, which must follow each other without a byte between or after them."""
    found = []
    while raw:
        head, blank, rest = raw.partition(b"\r\n\r\n")
        line = _ANSWER.match(head + b"\r\n")
        assert blank, raw
        assert line, raw
        length = int(line[2])
        assert len(rest) >= length, raw
        found.append(Answer(int(line[1]), rest[:length]))
        raw = rest[length:]
    return found


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    starts = sorted({0, *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks of any size, with extensions and trailers."""
    coded = b""
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a=b", b';a="b;c"', b";x"]))
        zeros = b"0" * draw(st.integers(0, 3))
        coded += zeros + b"%x" % size + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return (
        coded
        + b"0\r\n"
        + draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nContent-Length: 9\r\n"]))
        + b"\r\n"
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Requests one after the other, and the bodies that the answers must have."""
    raw, expected = b"", []
    for number in range(draw(st.integers(1, 5))):
        body = draw(st.binary(max_size=400) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", SMUGGLED]))
        is_chunked = draw(st.booleans())
        how = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
        how = draw(st.sampled_from([how, how.lower(), how.replace(b": ", b":"), how.replace(b": ", b":\t ")]))
        raw += draw(st.sampled_from([b"", b"\r\n"]))  # tolerated before a request
        raw += b"POST /%d HTTP/1.1\r\n" % number + HOST + how + b"\r\n\r\n"
        raw += draw(chunked(body)) if is_chunked else body
        expected.append(b"/%d " % number + body)
    return raw + END, [*expected, b"/end "]


@given(requests(), st.lists(st.integers(0, 5000), max_size=8))
@many
def test_requests_are_told_apart_however_they_are_sent(
    echoing: Echoing, secured: Echoing, sent: tuple[bytes, list[bytes]], places: list[int]
) -> None:
    raw, expected = sent
    for server in (echoing, secured):
        got = answers(server.exchange(cut(raw, places)))
        assert [answer.body for answer in got] == expected
        assert {answer.status for answer in got} == {200}


@given(requests(), st.integers(0, 10_000))
@many
def test_a_request_that_breaks_off_is_never_answered_nor_begun(
    echoing: Echoing, sent: tuple[bytes, list[bytes]], place: int
) -> None:
    raw, _ = sent
    raw = raw[: -len(END)]
    last = raw.rindex(b"POST /")
    kept = last + place % (len(raw) - last)
    number = raw[last + 6 : last + 7].decode()
    echoing.paths.clear()
    with socket.create_connection(("127.0.0.1", echoing.server.port)) as sock:
        sock.sendall(raw[last:kept])
    assert echoing.server.answers(PATIENCE_S)  # the loop has gone on
    assert f"/{number}" not in echoing.paths


LENGTHS = st.sampled_from(
    ["-1", "+5", "0x5", "5,5", "5, 6", "5 5", "1e1", "5.0", "5;a", "\xb2", "", "\t", "9" * 5000, "_5", "5_0"]
) | st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=6).filter(
    lambda text: not re.fullmatch(r"[ \t]*[0-9]+[ \t]*", text)
)


@given(LENGTHS)
@many
def test_a_length_that_is_none_is_refused_and_nothing_after_it_is_read(echoing: Echoing, length: str) -> None:
    header = b"Content-Length: " + length.encode("latin-1") + b"\r\n"
    refused(echoing, b"POST /odd HTTP/1.1\r\n" + HOST + header + b"\r\n" + SMUGGLED + END)


CODINGS = [
    "gzip",
    "chunked, gzip",
    "gzip, chunked",
    "chunked;q=1",
    "\x0bchunked",
    "chunked\x0b",
    "identity",
    "x",
]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length : 3\r\n",
        b" Content-Length: 3\r\n",
        b"Content-Length: 3\r\n\tfolded: 5\r\n",
        b"A: b\nContent-Length: 3\r\n",
        b"A: b\rContent-Length: 3\r\n",
        b"A: \x00\r\n",
        *(b"Transfer-Encoding: %b\r\n" % coding.encode("latin-1") for coding in CODINGS),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(echoing: Echoing, version: bytes, headers: bytes) -> None:
    head = b"POST /odd HTTP/" + version + b"\r\n" + HOST + b"Connection: keep-alive\r\n" + headers + b"\r\n"
    refused(echoing, head + b"3\r\nabc\r\n0\r\n\r\n" + SMUGGLED + END)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nab\r\n0\r\n\r\n",
        b"3;=\r\nabc\r\n0\r\n\r\n",
        b"3" + b";a" * 10_000,
        b"0\r\n" + b"A: b\r\n" * 3000,
        b"f" * 5000 + b"\r\n" + b"x" * 20_000,
    ],
)
def test_chunks_that_are_none_are_refused(echoing: Echoing, body: bytes) -> None:
    head = b"POST /odd HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    refused(echoing, head + body + SMUGGLED + END)


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/2.0", b"PRI * HTTP/2.0", b"GET / HTTP/0.9"])
def test_other_versions_are_refused(echoing: Echoing, line: bytes) -> None:
    assert refused(echoing, line + b"\r\n" + HOST + b"\r\n" + SMUGGLED) == 505


@pytest.mark.parametrize("address", [b"http://[", b"http://[::1", b"//[\xff", b"/\xff%ff%00"])
def test_strange_addresses_are_answered(echoing: Echoing, address: bytes) -> None:
    got = answers(
        echoing.exchange([b"GET " + address + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"])
    )
    assert [answer.status for answer in got] in ([200], [400])
    assert echoing.failures == []


def test_a_body_that_would_be_refused_is_not_asked_for(echoing: Echoing) -> None:
    """As curl asks before it sends a large file."""
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n"
    assert refused(echoing, head + b"Content-Length: 99999\r\n\r\n") == 413
    [answer] = answers(echoing.exchange([head + b"Connection: close\r\n\r\n"]))  # without any
    assert answer.status == 200
    raw = echoing.exchange([head + b"Connection: close\r\nContent-Length: 2\r\n\r\n", b"hi"])
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answers(raw.partition(b"\r\n\r\n")[2]) == [Answer(200, b"/ hi")]


def refused(echoing: Echoing, raw: bytes) -> int:
    """Send this; returns the status of the refusal, which must be the only answer."""
    echoing.paths.clear()
    got = answers(echoing.exchange([raw]))
    assert [answer.status in REFUSALS for answer in got] == [True], got
    assert echoing.paths == []
    assert echoing.failures == []
    return got[0].status


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Good requests into which bytes were put, of which some were lost, and some changed."""
    raw = bytearray(draw(requests())[0])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        lost = draw(st.integers(0, 6))
        put = draw(
            st.binary(max_size=6) | st.sampled_from([b"\r\n", b"\r", b"\n", b"0", b"\x00", b": ", b"\xff"])
        )
        raw[at : at + lost] = put
    return bytes(raw)


@given(damaged() | st.binary(max_size=300))
@settings(many, max_examples=300)
def test_whatever_comes_in_nothing_fails(echoing: Echoing, secured: Echoing, raw: bytes) -> None:
    for server in (echoing.server, secured.server):
        for begin in (b"", b"\x16"):  # as a handshake begins
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(begin + raw)
        assert server.answers(PATIENCE_S)
    assert echoing.failures == []  # it hears of both
