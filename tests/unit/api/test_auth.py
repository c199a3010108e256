"""Who may call and what for, for addresses that we do not have as well."""

import socket
from typing import Any

import pytest

from edged.api.app import ENDPOINTS
from edged.api.auth import Gate, scopes_of
from edged.api.errors import Forbidden, Unauthorized
from edged.config.keys import SCOPES, hashed_line
from edged.config.schema import Access
from edged.errors import InvalidRequest

KEY = "correct-horse-battery"
OTHER = "another-key-of-mine"
USE = ("POST", "/v1/chat/completions")


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
    gate = Gate(Access(mode=mode))  # type: ignore[arg-type]
    if allowed:
        gate.let_in(environ(source))
    else:
        with pytest.raises(Forbidden, match=f"access.mode is {mode}"):
            gate.let_in(environ(source))


def test_any_lets_everybody_in_who_has_a_key() -> None:
    gate = Gate(Access(mode="any", api_keys=(KEY,)))
    gate.let_in(environ("8.8.8.8", HTTP_AUTHORIZATION=f"Bearer {KEY}")).check(*USE)
    with pytest.raises(Unauthorized):
        gate.let_in(environ("8.8.8.8")).check(*USE)


def test_any_without_keys_lets_nobody_in() -> None:
    for shown in ({}, {"HTTP_AUTHORIZATION": "Bearer "}, {"HTTP_AUTHORIZATION": "Bearer x"}):
        with pytest.raises(Unauthorized):
            Gate(Access(mode="any")).let_in(environ(**shown)).check(*USE)


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
    Gate(Access(hosts=("Box.example",))).let_in(environ(host=host))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil", "a, localhost"],
)
def test_other_names_are_refused_with_what_to_set(host: str) -> None:
    with pytest.raises(Forbidden, match=r"access\.hosts"):
        Gate(Access()).let_in(environ(host=host))


def test_http_1_1_needs_a_host_and_1_0_does_not() -> None:
    gate = Gate(Access())
    with pytest.raises(InvalidRequest):
        gate.let_in(environ(host=None))
    gate.let_in(environ(host=None, SERVER_PROTOCOL="HTTP/1.0"))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8080", True),
        ("https://ui.example", True),
        ("app://notes.example", True),
        ("http://localhost:3000", False),
        ("https://localhost:8080", False),
        ("https://evil.example", False),
        ("http://notes.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_web_pages_from_elsewhere_are_refused(origin: str, allowed: bool) -> None:
    """A page may send a POST without reading the answer, and that is enough to unload a model."""
    gate = Gate(Access(hosts=("ui.example",), cors_origins=("app://notes.example",)))
    if allowed:
        gate.let_in(environ(HTTP_ORIGIN=origin))
    else:
        with pytest.raises(Forbidden, match="web page"):
            gate.let_in(environ(HTTP_ORIGIN=origin))


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", "/livez", ()),
        ("GET", "/readyz", ()),
        ("GET", "/health", ()),
        ("GET", "/v1/health", ()),
        ("GET", "/docs", ()),
        ("GET", "/openapi.json", ()),
        ("GET", "/metrics", ("metrics",)),
        ("HEAD", "/metrics", ("metrics",)),
        ("GET", "/v1/models", ("use",)),
        ("POST", "/v1/embeddings", ("use",)),
        ("POST", "/api/chat", ("use",)),
        ("POST", "/api/pull", ("pull",)),
        ("DELETE", "/api/delete", ("manage",)),
        ("GET", "/edged/v1/models", ("use", "manage")),
        ("POST", "/edged/v1/models/smollm2/unload", ("manage",)),
        ("PUT", "/edged/v1/models/smollm2", ("manage",)),
        ("GET", "/nowhere", ("use",)),
    ],
)
def test_what_a_key_is_to_be_for(method: str, path: str, scopes: tuple[str, ...]) -> None:
    assert scopes_of(method, path) == scopes


def test_who_may_only_use_models_changes_nothing() -> None:
    changing = [
        each
        for each in ENDPOINTS
        if each.method == "DELETE"
        or (each.family == "edged" and each.method == "POST")
        or each.path.endswith(("/pull", "/delete"))
    ]
    assert len(changing) > 3
    for each in changing:
        assert not {"use", "metrics"} & set(scopes_of(each.method, each.path)), each.path


def test_each_key_is_for_what_it_says_and_nothing_else() -> None:
    lines = tuple(hashed_line(scope, (scope,), f"a-key-for-{scope}-alone") for scope in SCOPES)
    gate = Gate(Access(api_keys=lines))
    asked = {
        "use": ("POST", "/v1/completions"),
        "metrics": ("GET", "/metrics"),
        "manage": ("POST", "/edged/v1/models/m/load"),
        "pull": ("POST", "/api/pull"),
    }
    for scope in SCOPES:
        caller = gate.let_in(environ(HTTP_AUTHORIZATION=f"Bearer a-key-for-{scope}-alone"))
        assert (caller.name, caller.scopes) == (f"key {scope}", frozenset({scope}))
        caller.check(*asked[scope])
        for other in set(SCOPES) - {scope}:
            with pytest.raises(Forbidden, match=f"the API key {scope} is not for .* needs the scope {other}"):
                caller.check(*asked[other])
    for wanted in asked.values():
        with pytest.raises(Unauthorized, match="an API key is needed"):
            gate.let_in(environ()).check(*wanted)


def test_what_needs_no_key_is_open_to_all_and_the_rest_is_not() -> None:
    gate = Gate(Access(api_keys=(hashed_line("prometheus", ("metrics",), KEY),), keyless=("use",)))
    gate.let_in(environ(HTTP_X_API_KEY=KEY)).check(*USE)
    gate.let_in(environ(HTTP_X_API_KEY=KEY)).check("GET", "/metrics")
    for shown in ({}, {"HTTP_AUTHORIZATION": "Bearer none"}):
        caller = gate.let_in(environ(**shown))
        caller.check(*USE)
        with pytest.raises(Unauthorized):
            caller.check("POST", "/edged/v1/models/m/unload")


def test_without_keys_everything_is_open_to_whom_the_mode_lets_in() -> None:
    caller = Gate(Access()).let_in(environ(HTTP_AUTHORIZATION="Bearer none"))
    assert caller.scopes == set(SCOPES)


@pytest.mark.parametrize(
    "shown",
    [
        {"HTTP_AUTHORIZATION": f"Bearer {OTHER}"},
        {"HTTP_AUTHORIZATION": f"bearer   {OTHER} "},
        {"HTTP_X_API_KEY": OTHER},
    ],
)
def test_keys_come_in_either_header(shown: dict[str, str]) -> None:
    caller = Gate(Access(api_keys=(KEY, OTHER))).let_in(environ(**shown))
    assert (caller.name, caller.scopes) == ("key access.api_keys[1]", frozenset(SCOPES))


@pytest.mark.parametrize(
    "shown", [f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY, "Bearer", "Bearer \xff"]
)
def test_what_is_no_key_of_ours_is_nobodys(shown: str) -> None:
    caller = Gate(Access(api_keys=(KEY,))).let_in(environ(HTTP_AUTHORIZATION=shown))
    assert (caller.key, caller.name, caller.scopes) == (None, "127.0.0.1", frozenset())


def test_the_administrators_key_does_everything_and_is_not_counted() -> None:
    gate = Gate(Access(mode="any", api_keys=(KEY,)), OTHER)
    caller = gate.let_in(environ("8.8.8.8", HTTP_AUTHORIZATION=f"Bearer {OTHER}"))
    assert (caller.scopes, caller.is_limited) == (frozenset(SCOPES), False)
    assert not Gate(Access(mode="any", api_keys=(KEY,))).let_in(environ(HTTP_X_API_KEY=OTHER)).scopes


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:4860:1:2::1", "2001:4860:1:2:ffff::9", True),
        ("2001:4860:1:2::1", "2001:4860:1:3::1", False),
        ("192.168.1.5", "::ffff:192.168.1.5", True),
        ("192.168.1.5", "192.168.1.6", False),
        ("fd12:3456::1", "fd12:3456::2", False),  # a home's machines share a /64
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_which_addresses_are_one_client(one: str, other: str, same: bool) -> None:
    gate: Any = Gate(Access(mode="any", api_keys=(KEY,)))
    assert (gate.let_in(environ(one)).name == gate.let_in(environ(other)).name) is same
