"""`n`, `logprobs` and sampling values, for both kinds of completion and through OpenAI's client."""

import json
from typing import Any

import pytest

from tests.api.conftest import Json, Running, Serve, chat_body

_QUESTION: list[Any] = [{"role": "user", "content": "a b c d"}]


def _complete(edged: Running, **more: Any) -> Json:
    answer: Json = edged.post("/v1/completions", {"model": "chat", "prompt": "a b c d", **more}).json()
    return answer


def _chunks(edged: Running, path: str, body: Json) -> list[Json]:
    *events, end = edged.post(path, body | {"stream": True}).body.decode().strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_several_answers_are_choices_in_order_and_all_count(edged: Running) -> None:
    answer = edged.chat("a b c d", n=3, max_tokens=2).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"a b"}
    assert answer["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 6,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    choices = _complete(edged, n=2, stop="c")["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [(0, "a b "), (1, "a b ")]


def test_more_answers_than_slots_wait_for_each_other(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?slots=1"})
    assert len(edged.chat("a b", n=3).json()["choices"]) == 3
    answer = edged.chat("a b", n=100)
    assert (answer.status, answer.error["param"]) == (400, "n")


def test_a_stream_tells_its_answers_apart(edged: Running) -> None:
    body = chat_body("a b", n=2, stream_options={"include_usage": True})
    *events, usage = _chunks(edged, "/v1/chat/completions", body)
    for index in (0, 1):
        mine = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in mine) == "a b"
        assert [choice["finish_reason"] for choice in mine] == [None, None, None, "stop"]
    assert usage["usage"]["completion_tokens"] == 4


def test_log_probabilities_of_a_chat(edged: Running) -> None:
    choice = edged.chat("a b", logprobs=True, top_logprobs=2).json()["choices"][0]
    assert choice["logprobs"] == {
        "refusal": None,
        "content": [
            {
                "token": "a",
                "logprob": 0.0,
                "bytes": [97],
                "top_logprobs": [
                    {"token": "a", "logprob": 0.0, "bytes": [97]},
                    {"token": " other1", "logprob": -1.0, "bytes": list(b" other1")},
                ],
            },
            {
                "token": " b",
                "logprob": -0.125,
                "bytes": [32, 98],
                "top_logprobs": [
                    {"token": " b", "logprob": -0.125, "bytes": [32, 98]},
                    {"token": " other1", "logprob": -1.125, "bytes": list(b" other1")},
                ],
            },
        ],
    }


@pytest.mark.parametrize(("fields", "n_top"), [({}, 0), ({"top_logprobs": 0}, 0), ({"top_logprobs": 20}, 20)])
def test_how_many_of_the_likeliest_are_named(edged: Running, fields: Json, n_top: int) -> None:
    content = edged.chat("a b", logprobs=True, **fields).json()["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [n_top, n_top]


def test_log_probabilities_of_a_text(edged: Running) -> None:
    assert _complete(edged, logprobs=1, max_tokens=3)["choices"][0]["logprobs"] == {
        "tokens": ["a", " b", " c"],
        "token_logprobs": [0.0, -0.125, -0.25],
        "top_logprobs": [{"a": 0.0}, {" b": -0.125}, {" c": -0.25}],
        "text_offset": [0, 1, 3],
    }
    assert _complete(edged, logprobs=0)["choices"][0]["logprobs"]["top_logprobs"] == [{}] * 4
    assert _complete(edged)["choices"][0]["logprobs"] is None


def test_what_a_stop_string_cuts_off_has_no_log_probability(edged: Running) -> None:
    for streamed in (False, True):
        body = chat_body("a b c d", logprobs=True, stop=["b c"])
        if streamed:
            chunks = [event["choices"][0] for event in _chunks(edged, "/v1/chat/completions", body)]
            entries = [entry for c in chunks if c["logprobs"] for entry in c["logprobs"]["content"]]
        else:
            answer = edged.post("/v1/chat/completions", body).json()
            entries = answer["choices"][0]["logprobs"]["content"]
        # the space before the stop string was sent, and it is the second token's
        assert [entry["token"] for entry in entries] == ["a", " b"]


def test_a_stream_carries_them_with_their_text(edged: Running) -> None:
    body = {"model": "chat", "prompt": "a b c", "logprobs": 0}
    choices = [event["choices"][0] for event in _chunks(edged, "/v1/completions", body)]
    with_text = [choice for choice in choices if choice["text"]]
    assert [choice["logprobs"]["tokens"] for choice in with_text] == [["a"], [" b"], [" c"]]
    assert [choice["logprobs"]["text_offset"] for choice in with_text] == [[0], [1], [3]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 129}, "n"),
        ({"n": 1e9}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": 2}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"mirostat": 3}, "mirostat"),
        ({"mirostat": 1.5}, "mirostat"),
        ({"mirostat_tau": -1}, "mirostat_tau"),
        ({"mirostat_eta": 1e9}, "mirostat_eta"),
        ({"temperature": -0.1}, "temperature"),
        ({"repeat_penalty": 1e-40}, "repeat_penalty"),
        ({"repeat_last_n": -1}, "repeat_last_n"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"typical_p": 2}, "typical_p"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"-5": 1}}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(edged: Running, fields: Json, param: str) -> None:
    answer = edged.chat("hi", **fields)
    assert answer.status == 400, answer.body
    assert answer.error["param"].startswith(param)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(edged: Running, value: str) -> None:
    body = json.dumps(chat_body("hi")).encode()[:-1] + f', "temperature": {value}}}'.encode()
    answer = edged.post("/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert (answer.status, answer.error["param"]) == (400, "temperature")


@pytest.mark.parametrize("fields", [{"logprobs": True}, {"logprobs": 21}, {"logprobs": -1}, {"n": 0}])
def test_text_completions_have_their_own_ranges(edged: Running, fields: Json) -> None:
    answer = edged.post("/v1/completions", {"model": "chat", "prompt": "a", **fields})
    assert (answer.status, answer.error["param"]) == (400, next(iter(fields)))


def test_openai_client_parses_all_of_it(edged: Running) -> None:
    with edged.client() as client:
        whole = client.chat.completions.create(
            model="chat", messages=_QUESTION, n=2, logprobs=True, top_logprobs=3, seed=5,
            presence_penalty=0.5, frequency_penalty=0.5, logit_bias={"5": 10}, stop=["zz"],
            extra_body={"top_k": 5, "min_p": 0.1, "mirostat": 1, "repeat_penalty": 1.2, "ignore_eos": False},
        )  # fmt: skip
        assert [choice.index for choice in whole.choices] == [0, 1]
        logprobs = whole.choices[1].logprobs
        assert logprobs
        assert logprobs.content
        assert [entry.token for entry in logprobs.content] == ["a", " b", " c", " d"]
        assert logprobs.content[3].bytes == [32, 100]
        assert len(logprobs.content[0].top_logprobs) == 3

        stream = client.chat.completions.create(
            model="chat", messages=_QUESTION, n=2, logprobs=True, stream=True
        )
        tokens: dict[int, list[str]] = {0: [], 1: []}
        for chunk in stream:
            for choice in chunk.choices:
                content = choice.logprobs.content if choice.logprobs else None
                tokens[choice.index] += [entry.token for entry in content or []]
        assert tokens == {index: ["a", " b", " c", " d"] for index in (0, 1)}

        text = client.completions.create(model="chat", prompt="a b", n=2, logprobs=2)
        assert text.choices[1].logprobs
        assert text.choices[1].logprobs.text_offset == [0, 1]


def test_a_client_that_leaves_frees_all_its_slots(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?slots=2&step_s=0.01"})
    connection = edged.connect()
    body = json.dumps(chat_body("a", n=2, ignore_eos=True, stream=True, max_tokens=100_000))
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert connection.getresponse().read(64)
    connection.close()
    assert edged.chat("a b", n=2).status == 200
