"""Who may call, over HTTP: keys, what they are for, names and origins."""

from typing import Any

import ollama
import openai
import pytest

from edged.config.keys import hashed_line
from tests.api.conftest import Running, Serve, chat_body

KEY = "correct-horse-battery"
_PAGE = "https://ui.example:3000"


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


def test_a_key_is_let_in_only_for_what_it_is_for(serve: Serve) -> None:
    keys = {"tablet": ("use",), "prometheus": ("metrics",), "admin": ("manage",)}
    lines = tuple(hashed_line(name, scopes, f"the-key-of-{name}") for name, scopes in keys.items())
    running = serve({"chat": "fake:generate"}, access={"api_keys": lines})
    asked: list[tuple[str, str, Any, set[str]]] = [
        ("POST", "/v1/chat/completions", chat_body("hi"), {"tablet"}),
        ("GET", "/metrics", None, {"prometheus"}),
        ("GET", "/edged/v1/models", None, {"tablet", "admin"}),
        ("POST", "/edged/v1/models/chat/warmup", None, {"admin"}),
    ]
    for method, path, body, let_in in asked:
        assert running.call(method, path, body).status == 401
        for name in keys:
            headers = {"Authorization": f"Bearer the-key-of-{name}"}
            answer = running.call(method, path, body, headers)
            assert answer.status == (200 if name in let_in else 403), (path, name)
            if answer.status == 403:
                assert f"the API key {name} is not for {method} {path}" in answer.error["message"]


def test_encoded_paths_need_the_same_key(serve: Serve) -> None:
    lines = (hashed_line("tablet", ("use",), KEY),)
    running = serve({"chat": "fake:generate"}, access={"api_keys": lines})
    key = {"Authorization": f"Bearer {KEY}"}
    for path in ("/edged/v1", "/%65dged/v1", "/edged%2Fv1"):
        assert running.post(f"{path}/models/chat/unload", headers=key).status == 403
    for path in ("//edged/v1", "/v1/../edged/v1", "/EDGED/v1"):
        assert running.post(f"{path}/models/chat/unload", headers=key).status in (403, 404)
    assert running.pool.status("chat").state == "ready"


def _preflight(running: Running, origin: str) -> Any:
    return running.call(
        "OPTIONS",
        "/v1/chat/completions",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
            "Access-Control-Request-Private-Network": "true",
        },
    )


def test_pages_from_elsewhere_are_told_nothing_by_default(edged: Running) -> None:
    answer = _preflight(edged, _PAGE)
    assert (answer.status, answer.error["code"]) == (403, "access_denied")
    answer = edged.get("/v1/models")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_page_that_is_allowed_may_ask_with_a_key_and_read_the_answer(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": (KEY,), "cors_origins": (_PAGE,)})
    answer = _preflight(running, _PAGE)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == _PAGE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type,x-stainless-os"
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    origin = {"Origin": _PAGE}
    for headers, status in ((origin, 401), ({**origin, "Authorization": f"Bearer {KEY}"}, 200)):
        for body in (chat_body("hi"), chat_body("hi", stream=True)):
            answer = running.post("/v1/chat/completions", body, headers)
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == _PAGE
            assert answer.headers["Vary"] == "Origin"
            assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
    own = running.get("/v1/models", Authorization=f"Bearer {KEY}")
    assert (own.status, own.headers["Access-Control-Allow-Origin"]) == (200, None)
    other = _preflight(running, "https://evil.example")
    assert (other.status, other.headers["Access-Control-Allow-Origin"]) == (403, None)


def test_the_shape_of_an_error_is_that_of_the_path(edged: Running) -> None:
    answer = edged.get("/api/nothing")
    assert answer.status == 404
    assert set(answer.json()) == {"error"}
    assert "/api/nothing" in answer.json()["error"]
    assert "/v1/nothing" in edged.get("/v1/nothing").error["message"]
    large = edged.post("/api/chat", b"x" * 200_000)
    assert large.status == 413
    assert "server.max_body" in large.json()["error"]


def test_who_is_refused_is_told_to_the_operator(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    lines = (hashed_line("tablet", ("use",), KEY),)
    running = serve({"chat": "fake:generate"}, access={"api_keys": lines})
    with caplog.at_level("INFO"):
        running.get("/v1/models", Authorization=f"Bearer {KEY}")
        running.get("/v1/models", **{"X-Request-Id": "without-a-key"})
        running.get("/metrics", Authorization=f"Bearer {KEY}")
        running.get("/v1/models", Host="evil.example")
    refused = [each.getMessage() for each in caplog.records if each.name == "edged.api.errors"]
    assert "GET /v1/models from 127.0.0.1 (request without-a-key): an API key is needed" in refused[0]
    assert "GET /metrics from key tablet (request " in refused[1]
    assert "evil.example" in refused[2]
    assert KEY not in caplog.text


def test_a_request_is_found_in_the_log_by_its_id(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = serve({"chat": "fake:generate?crash_after=0"})
    answer = running.post("/v1/chat/completions", chat_body("hi"), {"X-Request-Id": "my-own-id"})
    assert (answer.status, answer.headers["X-Request-Id"]) == (500, "my-own-id")
    [record] = [each for each in caplog.records if "my-own-id" in each.getMessage()]
    assert record.levelname == "WARNING"
    assert vars(record)["REQUEST_ID"] == "my-own-id"
    assert len(running.get("/v1/models", **{"X-Request-Id": "not fit"}).headers["X-Request-Id"]) == 16


def test_clients_say_what_edged_says_is_wrong(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": (KEY,)})
    with running.client(api_key="none") as client:
        with pytest.raises(openai.AuthenticationError, match="this API key is not known here") as refused:
            client.models.list()
        assert refused.value.code == "invalid_api_key"
        assert refused.value.request_id
    with ollama.Client(running.server.url) as client_too:
        with pytest.raises(ollama.ResponseError, match="an API key is needed") as refused_too:
            client_too.list()
        assert refused_too.value.status_code == 401
    with ollama.Client(running.server.url, headers={"Authorization": f"Bearer {KEY}"}) as client_too:
        assert [model.model for model in client_too.list().models] == ["chat:latest"]
