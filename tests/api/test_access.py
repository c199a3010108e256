"""Who may call: keys, names, origins; over HTTP, and the gate alone for addresses that we do not have."""

import socket

import pytest

from edged.api.auth import Gate
from edged.api.errors import Forbidden, Unauthorized
from edged.errors import InvalidRequest
from tests.api.conftest import Running, Serve, chat_body

KEY = "correct-horse-battery"


def environ(source: str = "127.0.0.1", host: str | None = "localhost:8080", **more: str) -> dict[str, str]:
    made = {
        "REMOTE_ADDR": source,
        "PATH_INFO": "/v1/models",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        **more,
    }
    return made if host is None else made | {"HTTP_HOST": host}


@pytest.mark.parametrize(
    ("mode", "source", "allowed"),
    [
        ("loopback", "127.0.0.1", True),
        ("loopback", "127.8.8.8", True),
        ("loopback", "::1", True),
        ("loopback", "::ffff:127.0.0.1", True),
        ("loopback", "192.168.1.5", False),
        ("loopback", "fe80::1%eth0", False),
        ("lan", "127.0.0.1", True),
        ("lan", "192.168.1.5", True),
        ("lan", "10.1.2.3", True),
        ("lan", "172.16.0.1", True),
        ("lan", "172.32.0.1", False),
        ("lan", "169.254.9.9", True),
        ("lan", "fe80::1%eth0", True),
        ("lan", "fd12:3456::1", True),
        ("lan", "::ffff:10.0.0.1", True),
        ("lan", "8.8.8.8", False),
        ("lan", "::ffff:8.8.8.8", False),
        ("lan", "100.64.0.1", False),
        ("lan", "2001:db8::1", False),
        ("lan", "192.0.2.1", False),
    ],
)
def test_modes_go_by_the_source_address(mode: str, source: str, allowed: bool) -> None:
    gate = Gate(mode, (), ())  # type: ignore[arg-type]
    if allowed:
        gate.check(environ(source))
    else:
        with pytest.raises(Forbidden, match=f"access.mode is {mode}"):
            gate.check(environ(source))


def test_any_lets_everybody_in_who_has_a_key() -> None:
    gate = Gate("any", (KEY,), ())
    gate.check(environ("8.8.8.8", HTTP_AUTHORIZATION=f"Bearer {KEY}"))
    with pytest.raises(Unauthorized):
        gate.check(environ("8.8.8.8"))


def test_any_without_keys_lets_nobody_in() -> None:
    with pytest.raises(Unauthorized):
        Gate("any", (), ()).check(environ(HTTP_AUTHORIZATION="Bearer "))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "127.0.0.1:8080",
        "192.168.1.5",
        "[::1]:8080",
        "[fe80::1]",
        socket.gethostname(),
        f"{socket.gethostname()}.local:8080",
        "box.example",
        "Box.Example.:8080",
    ],
)
def test_names_of_this_machine(host: str) -> None:
    Gate("loopback", (), ("Box.example",)).check(environ(host=host))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil", "a, localhost"],
)
def test_other_names_are_refused_with_what_to_set(host: str) -> None:
    with pytest.raises(Forbidden, match=r"access\.hosts"):
        Gate("loopback", (), ()).check(environ(host=host))


def test_http_1_1_needs_a_host_and_1_0_does_not() -> None:
    gate = Gate("loopback", (), ())
    with pytest.raises(InvalidRequest):
        gate.check(environ(host=None))
    gate.check(environ(host=None, SERVER_PROTOCOL="HTTP/1.0"))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8080", True),
        ("https://ui.example", True),
        ("http://localhost:3000", False),
        ("https://localhost:8080", False),
        ("https://evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_web_pages_from_elsewhere_are_refused(origin: str, allowed: bool) -> None:
    """A page may send a POST without reading the answer, and that is enough to unload a model."""
    gate = Gate("loopback", (), ("ui.example",))
    if allowed:
        gate.check(environ(HTTP_ORIGIN=origin))
    else:
        with pytest.raises(Forbidden, match="web page"):
            gate.check(environ(HTTP_ORIGIN=origin))


def test_a_name_that_is_not_ours_is_403_over_http(edged: Running) -> None:
    answer = edged.get("/v1/models", Host="evil.example")
    assert (answer.status, answer.error["code"]) == (403, "access_denied")


def test_keys_are_demanded_everywhere_but_for_health(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": (KEY, "another-key-of-mine")})
    for path in ("/livez", "/readyz", "/health"):
        assert running.get(path).status == 200
    for path in ("/v1/models", "/metrics", "/edged/v1/models", "/nowhere"):
        answer = running.get(path)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for wrong in (f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer", "Bearer \xff", f"Bearer {KEY[:-1]}"):
        assert running.get("/v1/models", Authorization=wrong).status == 401
    for key in (KEY, "another-key-of-mine"):
        assert running.get("/v1/models", Authorization=f"bearer {key}").status == 200
    assert running.post("/v1/chat/completions", chat_body("hi")).status == 401
    with running.client(api_key=KEY) as client:
        assert client.models.list().data[0].id == "chat"
