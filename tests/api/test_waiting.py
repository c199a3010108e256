"""Requests for models that are not loaded: how long they wait, and what they hear meanwhile."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edged.policy.types import Prediction
from tests.api.conftest import PATIENCE_S, Answer, Running, Serve, chat_body, eventually

LONG_LOAD = "fake:generate?load_s=600"


def stream(running: Running, text: str, wait: str | None = None) -> http.client.HTTPResponse:
    """The answer to a streaming chat, as soon as its headers are there."""
    connection = running.connect()
    headers = {"Content-Type": "application/json", "Connection": "close"}
    headers |= {"X-Edged-Wait": wait} if wait else {}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat_body(text, stream=True)), headers)
    return connection.getresponse()


def blocks(response: http.client.HTTPResponse) -> Iterator[str]:
    """Events and comments, one after the other."""
    with response:
        block = ""
        for line in response:
            if line == b"\n":
                yield block
                block = ""
            else:
                block += line.decode()


def words(said: list[str]) -> str:
    """The text of a stream's events."""
    chunks = [json.loads(block.removeprefix("data: ")) for block in said if block.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_who_does_not_want_to_wait_hears_when_to_come_back_and_the_load_goes_on(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=0.3"}, preload=False)
    answer = running.post("/v1/chat/completions", chat_body("hi"), {"X-Edged-Wait": "0"})
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3  # the plan predicts 3 s
    assert "loading" in answer.error["message"]
    assert eventually(lambda: running.pool.status("chat").state == "ready")
    assert running.post("/v1/chat/completions", chat_body("hi"), {"X-Edged-Wait": "0"}).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_request_may_wait_longer_than_the_configuration_says(serve: Serve, path: str) -> None:
    models = {"chat": "fake:generate?load_s=0.3", "embed": "fake:embed?load_s=0.3"}
    running = serve(models, preload=False, loading={"request_wait": 0.01})
    body = chat_body("hi") if "chat" in path else {"model": "embed", "input": "hi"}
    assert running.post(path, body).status == 503
    running.pool.unload(body["model"])
    assert running.post(path, body, {"X-Edged-Wait": "20"}).status == 200


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "1e9", ""])
def test_what_is_no_time_is_refused(edged: Running, wait: str) -> None:
    answer = edged.post("/v1/chat/completions", chat_body("hi"), {"X-Edged-Wait": wait})
    assert (answer.status, answer.error["param"]) == (400, "X-Edged-Wait")


def test_nobody_waits_for_what_is_known_to_come_too_late(serve: Serve) -> None:
    # it reads a tenth in 1.2 s: 10.8 s are left, and the request may wait for less than half of that
    predicted = Prediction(file_bytes=1000, anon_bytes=0, ready_s=12.0, first_answer_s=12.0)
    running = serve(
        {"chat": "fake:generate?load_s=12"},
        wait=False,
        plan={"strategy": "warm", "predicted": predicted},
        loading={"request_wait": 5},
    )
    answer = running.chat("hi")
    assert answer.status == 503
    assert "longer than this request waits" in answer.error["message"]
    assert "10 % read" in answer.error["message"]
    assert int(answer.headers["Retry-After"]) >= 5
    assert running.pool.status("chat").state == "loading"


def test_a_stream_tells_how_far_the_load_is_and_then_answers(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=2.5"}, preload=False)
    response = stream(running, "one two three")
    assert response.status == 200
    said = list(blocks(response))
    comments = [block for block in said if block.startswith(":")]
    assert comments[0].startswith(": chat is loading, ")
    assert " % read" in comments[0]
    assert words(said) == "one two three"
    assert said[-1] == "data: [DONE]\n"


def test_openai_clients_do_not_mind_the_comments(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=1.5"}, preload=False)
    chunks = running.client().chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "one two"}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"


def test_a_load_that_fails_at_once_is_a_status_also_for_streams(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_fails=the+file+is+damaged"}, preload=False)
    with stream(running, "hi") as response:
        assert response.status == 503
        assert b"the file is damaged" in response.read()


def test_a_load_that_fails_later_ends_a_stream_with_the_reason(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=1.5&load_fails=the+file+is+damaged"}, preload=False)
    response = stream(running, "hi")
    assert response.status == 200
    *_, last = blocks(response)
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "unavailable"
    assert "the file is damaged" in error["message"]
    assert eventually(lambda: running.sample("edged_requests_working") == 0)


def test_a_stream_whose_time_is_up_says_so(serve: Serve) -> None:
    running = serve({"chat": LONG_LOAD}, preload=False)
    response = stream(running, "hi", wait="1.5")
    assert response.status == 200
    *_, last = blocks(response)
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "unavailable"


def test_a_client_that_leaves_a_stream_that_waits_gives_its_place_back(serve: Serve) -> None:
    running = serve({"chat": LONG_LOAD}, preload=False)
    response = stream(running, "hi")
    assert response.readline().startswith(b": chat is loading")
    response.close()
    assert eventually(lambda: running.sample("edged_requests_working") == 0)


BODIES = {
    "/v1/chat/completions": chat_body("one two"),
    "/v1/completions": {"model": "chat", "prompt": "one two"},
    "/v1/embeddings": {"model": "embed", "input": "one two"},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("keep_alive", [0, "0s"])
def test_a_model_can_be_unloaded_after_the_answer(serve: Serve, path: str, keep_alive: Any) -> None:
    running = serve({"chat": "fake:generate", "embed": "fake:embed"})
    model = BODIES[path]["model"]
    assert running.post(path, {**BODIES[path], "keep_alive": keep_alive}).status == 200
    assert eventually(lambda: running.pool.status(model).unloaded_by == "idle")
    assert running.post(path, BODIES[path]).status == 200


def test_a_stream_is_finished_before_its_model_is_unloaded(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.05"})
    answer = running.chat("one two three four five", stream=True, keep_alive=0)
    assert words(answer.body.decode().split("\n\n")) == "one two three four five"
    assert eventually(lambda: running.pool.status("chat").unloaded_by == "idle")


@pytest.mark.parametrize(("keep_alive", "kept_s"), [("10m", 600.0), (-1, None)])
def test_a_request_says_how_long_its_model_stays(serve: Serve, keep_alive: Any, kept_s: float | None) -> None:
    running = serve({"chat": "fake:generate"}, loading={"keep_alive": 3600})
    assert running.pool.status("chat").keep_alive_s == 3600
    assert running.chat("hi", keep_alive=keep_alive).status == 200
    assert running.pool.status("chat").keep_alive_s == kept_s
    assert running.chat("hi").status == 200
    assert running.pool.status("chat").keep_alive_s == kept_s


def test_a_keep_alive_that_is_no_time_is_refused(edged: Running) -> None:
    answer = edged.chat("hi", keep_alive="for ever")
    assert (answer.status, answer.error["param"]) == (400, "keep_alive")


def test_all_who_wait_hear_why_a_load_failed(serve: Serve) -> None:
    running = serve(
        {"chat": "fake:generate?load_s=0.3&load_fails=the+file+is+damaged"},
        preload=False,
        server={"max_requests": 8},
    )
    answers: list[Answer] = []
    asking = [threading.Thread(target=lambda: answers.append(running.chat("hi"))) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE_S)
    assert [answer.status for answer in answers] == [503] * 8
    assert all("the file is damaged" in answer.error["message"] for answer in answers)
