"""What clients send wrong: each is refused with 400 (or 413), naming the field, whatever the endpoint."""

import json
import logging
import socket
from typing import Any

import pytest

from tests.api.conftest import PATIENCE_S, Answer, Running, chat_body

JSON = {"Content-Type": "application/json"}


def post_raw(edged: Running, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return edged.post("/v1/chat/completions", body, headers=JSON if headers is None else headers)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("max_tokens", 10**30),
        ("max_completion_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 101),
        ("temperature", "hot"),
        ("temperature", []),
        ("temperature", 10**400),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", -1),
        ("typical_p", 2),
        ("repeat_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("seed", 2**63),
        ("seed", 1.5),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"99999999999": 1}),
        ("logit_bias", [1]),
        ("logit_bias", {str(token): 1 for token in range(1025)}),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a"] * 17),
        ("stop", "a" * 300),
        ("stop", 5),
        ("stream", "yes"),
        ("stream_options", {"include_usage": "yes"}),
        ("stream_options", {"bogus": True}),
        ("grammar", 5),
        ("ignore_eos", 1),
        ("messages", []),
        ("messages", None),
        ("messages", {}),
        ("messages", "hi"),
        ("messages", [None]),
        ("messages", [{}]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": 5}]),
        ("messages", [{"role": "user", "content": ["a"]}]),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}]),
        ("messages", [{"role": "nobody", "content": "a"}]),
        ("messages", [{"role": "user", "content": "a", "bogus": 1}]),
        ("temprature", 0.5),
    ],
)
def test_a_wrong_value_is_refused_by_its_fields_name(edged: Running, field: str, value: Any) -> None:
    answer = edged.chat("hi", **{field: value})
    assert answer.status == 400
    assert answer.error["param"].startswith(field)
    assert answer.error["message"].startswith(field)
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("functions", [{"name": "x"}]),
        ("function_call", {"name": "x"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("verbosity", "high"),
        ("web_search_options", {}),
        ("messages", [{"role": "function", "name": "x", "content": "1"}]),
        ("messages", [{"role": "assistant", "function_call": {"name": "x", "arguments": "{}"}}]),
        ("messages", [{"role": "assistant", "audio": {"id": "x"}}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        ("messages", [{"role": "user", "content": [{"input_audio": {}, "type": "input_audio"}]}]),
    ],
)
def test_what_would_change_the_meaning_is_refused_as_unsupported(
    edged: Running, field: str, value: Any
) -> None:
    answer = edged.chat("hi", **{field: value})
    assert (answer.status, answer.error["code"]) == (400, "unsupported_parameter")
    assert answer.error["param"].startswith(field)


def test_two_names_of_one_field_must_agree(edged: Running) -> None:
    answer = edged.chat("hi", max_tokens=1, max_completion_tokens=2)
    assert (answer.status, answer.error["param"]) == (400, "max_tokens")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"  ", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b"5", "the body is not a JSON object"),
        (b'"a"', "the body is not a JSON object"),
        (b"{} {}", "the body is not JSON"),
        (b"{'a': 1}", "the body is not JSON"),
        (b'{"a": 01}', "the body is not JSON"),
        (b'{"a": "\xff"}', "the body is not UTF-8 at byte 7"),
        ('{"a": "b"}'.encode("utf-16"), "the body is not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "the body is not JSON"),
        (b"[" * 50_000, "the body is nested too deeply"),
        (b'{"a":' * 20_000, "the body is nested too deeply"),
        (b'{"max_tokens": ' + b"9" * 5000 + b"}", "the body holds a number with too many digits"),
    ],
)
def test_what_is_no_json_object_is_refused(edged: Running, body: bytes, message: str) -> None:
    answer = post_raw(edged, body)
    assert answer.status == 400
    assert answer.error["message"].startswith(message)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(edged: Running, number: str) -> None:
    body = json.dumps(chat_body("hi"))[:-1] + f', "temperature": {number}}}'
    answer = post_raw(edged, body.encode())
    assert (answer.status, answer.error["param"]) == (400, "temperature")
    nested = f'{{"model": "embed", "input": [1, {number}]}}'
    answer = edged.post("/v1/embeddings", nested.encode(), headers=JSON)
    assert (answer.status, answer.error["param"]) == (400, "input[1]")


def test_a_field_that_is_there_twice_is_refused(edged: Running) -> None:
    answer = post_raw(edged, b'{"model": "chat", "messages": [], "model": "embed"}')
    assert (answer.status, answer.error["param"]) == (400, "model")
    answer = post_raw(edged, b'{"model": "chat", "messages": [{"role": "user", "role": "system"}]}')
    assert (answer.status, answer.error["param"]) == (400, "role")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (rb'{"model": "chat", "messages": [{"role": "user", "content": "a\ud800b"}]}', "messages[0].content"),
        (
            rb'{"model": "chat", "messages": [{"role": "user", "content": "a"}], "stop": ["\uDFFF"]}',
            "stop[0]",
        ),
        (rb'{"model": "\udc00"}', "model"),
        (rb'{"\udc00": 1}', "key"),
    ],
)
def test_half_a_surrogate_pair_is_refused(edged: Running, body: bytes, param: str) -> None:
    answer = post_raw(edged, body)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_whole_surrogate_pair_is_a_character(edged: Running) -> None:
    body = rb'{"model": "chat", "messages": [{"role": "user", "content": "\ud83d\ude00"}]}'
    assert post_raw(edged, body).json()["choices"][0]["message"]["content"] == "😀"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
def test_other_content_types_are_refused(edged: Running, kind: str) -> None:
    answer = post_raw(edged, json.dumps(chat_body("hi")).encode(), {"Content-Type": kind})
    assert (answer.status, answer.error["param"]) == (400, "Content-Type")
    assert "application/json" in answer.error["message"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json; charset=utf-8"}])
def test_json_may_be_unlabelled_or_labelled_at_length(edged: Running, headers: dict[str, str]) -> None:
    assert post_raw(edged, json.dumps(chat_body("hi")).encode(), headers).status == 200


def test_a_body_over_the_limit_is_413(edged: Running) -> None:
    answer = edged.chat("x" * 200_000)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert "100000 bytes" in answer.error["message"]


def test_a_chunked_body_works_and_has_the_same_limit(edged: Running) -> None:
    connection = edged.connect()
    body = json.dumps(chat_body("one two")).encode()
    pieces = (body[:10], body[10:])
    connection.request("POST", "/v1/chat/completions", iter(pieces), JSON, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["usage"]["completion_tokens"] == 2
    connection.close()
    with socket.create_connection(("127.0.0.1", edged.server.port), PATIENCE_S) as sock:
        sock.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"186a1\r\n" + b"x" * 100_001 + b"\r\n0\r\n\r\n")
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


ASKED = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"prompt": "a"},
    "/v1/responses": {"input": "a"},
    "/v1/embeddings": {"input": "a"},
}


@pytest.mark.parametrize(("path", "body"), ASKED.items())
def test_the_model_must_be_named_and_fit(edged: Running, path: str, body: dict[str, Any]) -> None:
    fits, other = ("embed", "chat") if path.endswith("embeddings") else ("chat", "embed")
    missing = edged.post(path, body)
    assert (missing.status, missing.error["param"]) == (400, "model")
    assert missing.error["message"].endswith(f"models here: {fits}")
    assert edged.post(path, body | {"model": 5}).error["param"] == "model"
    wrong = edged.post(path, body | {"model": other})
    assert (wrong.status, wrong.error["param"]) == (400, "model")
    assert fits in wrong.error["message"]
    unknown = edged.post(path, body | {"model": "gpt-4"})
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    assert "configured models: chat, embed" in unknown.error["message"]


def test_no_body_prompt_or_key_reaches_a_log(edged: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        headers = {"Authorization": "Bearer sesame-key"}
        body = json.dumps(chat_body("sesame-prompt")).encode()
        assert edged.post("/v1/chat/completions", body, JSON | headers).status == 200
        edged.chat("sesame-stream", stream=True)
        edged.chat("hi", stop="sesame-stop" * 50)
        edged.chat("hi", sesame_field="sesame-value")
        edged.post("/v1/chat/completions?sesame-query=1", b"sesame-bytes", JSON)
        edged.post("/v1/embeddings", {"model": "embed", "input": "sesame-input", "dimensions": 5})
    assert "POST /v1/chat/completions 200" in caplog.text
    assert "sesame" not in caplog.text
