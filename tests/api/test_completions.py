"""POST /v1/completions."""

import json

import pytest

from tests.api.conftest import Json, Running, Serve


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


def test_several_prompts_are_choices_in_order(edged: Running) -> None:
    answer = complete(edged, ["a b", "c", "d e f"], n=2)
    assert [choice["index"] for choice in answer["choices"]] == [*range(6)]
    assert [choice["text"] for choice in answer["choices"]] == ["a b", "a b", "c", "c", "d e f", "d e f"]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (6, 12)
    tokens = complete(edged, [[5], [6, 7]])["choices"]
    assert [choice["text"] for choice in tokens] == ["t5", "t6 t7"]


def test_several_prompts_in_one_stream(edged: Running) -> None:
    body = {"model": "chat", "prompt": ["a b", "c d e"], "stream": True}
    *events, end = edged.post("/v1/completions", body).body.decode().strip().split("\n\n")
    assert end == "data: [DONE]"
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    texts = ["".join(choice["text"] for choice in choices if choice["index"] == index) for index in (0, 1)]
    assert texts == ["a b", "c d e"]
    assert [choice["finish_reason"] for choice in choices].count("stop") == 2


def test_more_prompts_than_slots_wait_for_each_other(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?slots=1"})
    assert [choice["text"] for choice in complete(edged, ["a b", "c", "d"])["choices"]] == ["a b", "c", "d"]


def test_prompts_are_taken_together_or_not_at_all(serve: Serve) -> None:
    """What was taken of a request that is refused is given up: the next one finds a free slot."""
    edged = serve({"chat": "fake:generate?slots=1&step_s=0.01"}, model={"max_queue_requests": 1})
    many = {"model": "chat", "prompt": ["a b c"] * 8, "ignore_eos": True, "max_tokens": 100_000}
    assert edged.post("/v1/completions", many).status == 429
    assert complete(edged, "a b")["choices"][0]["text"] == "a b"


def test_too_many_prompts_are_refused(edged: Running) -> None:
    answer = edged.post("/v1/completions", {"model": "chat", "prompt": ["a"] * 33})
    assert (answer.status, answer.error["param"]) == (400, "prompt")


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
