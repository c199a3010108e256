"""POST /v1/completions."""

import json

import pytest

from tests.api.conftest import Json, Running


def complete(edged: Running, prompt: object, **more: object) -> Json:
    answer: Json = edged.post("/v1/completions", {"model": "chat", "prompt": prompt, **more}).json()
    return answer


def test_an_answer(edged: Running) -> None:
    answer = complete(edged, "one two three")
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {"index": 0, "text": "one two three", "logprobs": None, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("a b", "a b"), (["a b"], "a b"), ([5, 6], "t5 t6"), ([[5, 6]], "t5 t6"), ([0], "t0")],
)
def test_prompts_are_texts_or_tokens(edged: Running, prompt: object, text: str) -> None:
    assert complete(edged, prompt)["choices"][0]["text"] == text


@pytest.mark.parametrize("prompt", ["", [], [[]], [""], None, {}, 5, [1.5], [True], [-1], [2**31], [None]])
def test_what_is_no_prompt_is_refused(edged: Running, prompt: object) -> None:
    answer = edged.post("/v1/completions", {"model": "chat", "prompt": prompt})
    assert answer.status == 400
    assert answer.error["param"].startswith("prompt")


def test_several_prompts_are_not_supported(edged: Running) -> None:
    answer = edged.post("/v1/completions", {"model": "chat", "prompt": ["a", "b"]})
    assert (answer.status, answer.error["code"]) == (400, "unsupported_parameter")


def test_a_stream(edged: Running) -> None:
    body = {"model": "chat", "prompt": "a b", "stream": True}
    *events, end = edged.post("/v1/completions", body).body.decode().strip().split("\n\n")
    assert end == "data: [DONE]"
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert [choice["text"] for choice in choices] == ["a", " b", ""]
    assert choices[-1]["finish_reason"] == "stop"


def test_openai_client(edged: Running) -> None:
    with edged.client() as client:
        assert client.completions.create(model="chat", prompt="a b").choices[0].text == "a b"
