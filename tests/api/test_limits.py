"""What one client may ask for, over HTTP."""

import openai
import pytest

from edged.config.keys import hashed_line
from tests.api.conftest import Answer, Running, Serve, chat_body, eventually

SLOW = "fake:generate?step_s=0.05"
KEYS = tuple(hashed_line(name, ("use",), f"the-key-of-{name}") for name in ("one", "other"))


def ask(running: Running, name: str) -> Answer:
    return running.post(
        "/v1/chat/completions", chat_body("hi"), {"Authorization": f"Bearer the-key-of-{name}"}
    )


def test_who_asks_too_often_waits_and_nobody_else_does(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": KEYS}, server={"client_rate": 3})
    assert [ask(running, "one").status for _ in range(3)] == [200, 200, 200]
    refused = ask(running, "one")
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert "server.client_rate" in refused.error["message"]
    with running.client(api_key="the-key-of-one") as client, pytest.raises(openai.RateLimitError):
        client.models.list()
    assert ask(running, "other").status == 200
    for path in ("/livez", "/readyz", "/health"):
        assert running.get(path).status == 200


def test_who_tries_keys_is_held_back_by_address(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": KEYS}, server={"client_rate": 3})
    assert [ask(running, f"nobody-{number}").status for number in range(5)] == [401, 401, 401, 429, 429]
    assert ask(running, "one").status == 200


def test_a_client_has_so_many_answers_under_way_and_gets_them_back(serve: Serve) -> None:
    running = serve({"chat": SLOW}, access={"api_keys": KEYS}, server={"client_requests": 1})
    with running.client(api_key="the-key-of-one") as client:
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "word " * 60}], stream=True
        )
        next(iter(stream))
        refused = ask(running, "one")
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert "server.client_requests" in refused.error["message"]
        assert ask(running, "other").status == 200
        stream.close()  # a client that has gone has nothing under way
        assert eventually(lambda: ask(running, "one").status == 200)


def test_a_refused_request_holds_nothing(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, access={"api_keys": KEYS}, server={"client_requests": 1})
    wrong = chat_body("hi", temperature="hot")
    key = {"Authorization": "Bearer the-key-of-one"}
    for _ in range(3):
        assert running.post("/v1/chat/completions", wrong, key).status == 400
        assert running.post("/edged/v1/models/chat/unload", headers=key).status == 403
        assert running.get("/nowhere", **key).status == 404
        assert running.post("/v1/embeddings", {"model": "chat", "input": "x"}, key).status == 400
    assert ask(running, "one").status == 200
