"""Tool calls and reasoning in chats: what a model writes of them, as OpenAI's clients read it."""

import json
from typing import Any

import openai
import pytest

from tests.api.conftest import Json, Running, Serve, chat_body

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = '<tool_call> {"name": "weather", "arguments": {"city": "Rome"}} </tool_call>'
ARGUMENTS = {"city": "Rome"}


@pytest.fixture(scope="module")
def question() -> list[Any]:
    """What the fake repeats: a text with two calls in it."""
    return [{"role": "user", "content": f"I look {CALL} {CALL}"}]


def test_calls_are_told_from_text(edged: Running) -> None:
    choice = edged.chat(f"I look {CALL}", tools=TOOLS).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"] == "I look"
    [call] = message["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS


def test_an_answer_that_only_calls_has_no_content(edged: Running) -> None:
    assert edged.chat(CALL, tools=TOOLS).json()["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
def test_without_tools_to_call_it_is_text(edged: Running, fields: Json) -> None:
    choice = edged.chat(CALL, **fields).json()["choices"][0]
    assert choice["message"]["content"] == CALL
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]


def test_a_stream_gives_id_and_name_first(edged: Running) -> None:
    body = chat_body(CALL, tools=TOOLS, stream=True)
    *events, _end = edged.post("/v1/chat/completions", body).body.decode().strip().split("\n\n")
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    deltas = [each for choice in choices for each in choice["delta"].get("tool_calls", ())]
    first, *others = deltas
    assert first["type"] == "function"
    assert first["id"]
    assert first["function"]["name"] == "weather"
    assert all(set(delta) == {"index", "function"} for delta in others)
    assert json.loads("".join(delta["function"]["arguments"] for delta in deltas)) == ARGUMENTS
    assert choices[-1] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}


def test_openai_client_puts_parallel_calls_together(edged: Running, question: list[Any]) -> None:
    with edged.client() as client:
        whole = client.chat.completions.create(model="chat", messages=question, tools=TOOLS)
        with client.chat.completions.stream(model="chat", messages=question, tools=TOOLS) as stream:
            streamed = stream.get_final_completion()
    for completion in (whole, streamed):
        message = completion.choices[0].message
        assert message.content == "I look"
        calls = [call for call in message.tool_calls or [] if call.type == "function"]
        assert [call.function.name for call in calls] == ["weather", "weather"]
        assert [json.loads(call.function.arguments) for call in calls] == [ARGUMENTS, ARGUMENTS]
        assert len({call.id for call in calls}) == 2


def test_openai_client_sends_an_answer_back_with_its_results(edged: Running, question: list[Any]) -> None:
    """Also one that it has parsed itself, with what it has parsed inside."""
    function = TOOLS[0]["function"] | {"strict": True}
    function["parameters"] = function["parameters"] | {"additionalProperties": False, "required": ["city"]}
    strict: list[Any] = [{"type": "function", "function": function}]
    with edged.client() as client:
        answer = client.chat.completions.parse(model="chat", messages=question, tools=strict)
        message = answer.choices[0].message
        assert message.tool_calls
        assert message.tool_calls[0].function.parsed_arguments == ARGUMENTS
        told: list[Any] = [
            *question,
            message,
            *({"role": "tool", "tool_call_id": call.id, "content": "12 °C"} for call in message.tool_calls),
        ]
        again = client.chat.completions.create(model="chat", messages=told, tools=strict)
        assert again.choices[0].message.tool_calls


def test_reasoning_is_kept_apart_and_counted(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?reasons=true"})
    thought = "<think> let me see </think> twelve"
    answer = edged.chat(thought).json()
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"].strip(), message["content"].strip()) == ("let me see", "twelve")
    n_reasoning = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < n_reasoning < answer["usage"]["completion_tokens"]
    with edged.client() as client:
        stream = client.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": thought}],
            stream=True,
            stream_options={"include_usage": True},
        )
        *chunks, last = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas).strip() == "let me see"
    assert "".join(delta.content or "" for delta in deltas).strip() == "twelve"
    assert last.usage
    assert last.usage.completion_tokens_details
    assert last.usage.completion_tokens_details.reasoning_tokens == n_reasoning


def test_openai_client_is_told_which_tool_is_wrong(edged: Running, question: list[Any]) -> None:
    wrong: list[Any] = [{"type": "function", "function": {"name": "two words"}}]
    with edged.client() as client, pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="chat", messages=question, tools=wrong)
    assert raised.value.param == "tools[0].function.name"
