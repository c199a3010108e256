"""POST /v1/chat/completions: answers and streams, by hand and through OpenAI's client."""

import json
from typing import Any

import openai
import pytest

from tests.api.conftest import Json, Running, chat_body


def stream(edged: Running, body: Json) -> list[Any]:
    """The events of a streamed answer, as JSON; checks the frame around them."""
    answer = edged.post("/v1/chat/completions", body | {"stream": True})
    assert answer.status == 200
    assert answer.headers.get_content_type() == "text/event-stream"
    *events, end = answer.body.decode().removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_an_answer(edged: Running) -> None:
    answer = edged.chat("one two three").json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "chat"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 3,
        "total_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_stream_has_the_role_first_and_the_reason_last(edged: Running) -> None:
    events = stream(edged, chat_body("one two"))
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "one"}, {"content": " two"}, {}]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "stop"]
    assert len({event["id"] for event in events}) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


def test_a_stream_ends_with_usage_when_that_is_asked_for(edged: Running) -> None:
    *events, last = stream(edged, chat_body("one two", stream_options={"include_usage": True}))
    assert {event["usage"] for event in events} == {None}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"max_tokens": 2}, "a b", "length"),
        ({"max_completion_tokens": 1}, "a", "length"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "a b", "length"),
        ({"max_tokens": 1_000_000_000}, "a b c d", "stop"),
        ({"stop": "c"}, "a b ", "stop"),
        ({"stop": ["x", "b c"]}, "a ", "stop"),
        ({"ignore_eos": True, "max_tokens": 6}, "a b c d a b", "length"),
        (
            {"stop": None, "max_tokens": None, "temperature": None, "tools": None, "n": None},
            "a b c d",
            "stop",
        ),
    ],
)
def test_where_it_ends(edged: Running, fields: Json, text: str, reason: str) -> None:
    choice = edged.chat("a b c d", **fields).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)


def test_fields_that_change_nothing_are_accepted(edged: Running) -> None:
    harmless = {
        "user": "me",
        "store": True,
        "metadata": {"a": "b"},
        "n": 1,
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "logprobs": False,
        "modalities": ["text"],
        "stream_options": None,
    }
    assert edged.chat("hi", **harmless).status == 200


def test_all_sampling_fields_are_accepted(edged: Running) -> None:
    fields = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 0,
        "min_p": 0.1,
        "typical_p": 1.0,
        "mirostat": 2,
        "mirostat_tau": 4,
        "mirostat_eta": 0.2,
        "repeat_penalty": 1.1,
        "repeat_last_n": 0,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "logit_bias": {"5": -100, "31999": 1.5},
        "seed": -1,
        "grammar": 'root ::= "yes"',
        "ignore_eos": False,
    }
    assert edged.chat("hi", **fields).status == 200


def test_content_parts_are_joined_and_developers_are_the_system(edged: Running) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    ]
    answer = edged.post("/v1/chat/completions", {"model": "chat", "messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == "one two"  # the fake splits at the line break
    assert answer["usage"]["prompt_tokens"] == 4


def test_a_prompt_that_is_too_long_names_both_numbers(edged: Running) -> None:
    for streamed in (False, True):
        answer = edged.chat("x " * 70, stream=streamed)
        assert answer.status == 400
        assert "70 tokens" in answer.error["message"]
        assert "64" in answer.error["message"]


def test_openai_client_gets_an_answer_and_a_stream(edged: Running) -> None:
    with edged.client() as client:
        whole = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "a b"}])
        assert whole.choices[0].message.content == "a b"
        assert whole.usage
        assert whole.usage.total_tokens == 4
        chunks = list(
            client.chat.completions.create(
                model="chat",
                messages=[{"role": "user", "content": "a b"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "a b"
        assert chunks[-1].usage


def test_openai_client_raises_its_own_errors(edged: Running) -> None:
    with edged.client() as client:
        with pytest.raises(openai.NotFoundError, match="configured models: chat, embed"):
            client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "a"}])
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="chat", messages=[])
        assert raised.value.param == "messages"
