"""A chat's messages as a runner takes them."""

from typing import Any

import pytest

from edged.api.body import convert
from edged.api.errors import Unsupported
from edged.api.openai.messages import Message, conversation
from edged.errors import InvalidRequest
from edged.runner import protocol

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def taken(*messages: dict[str, Any]) -> tuple[protocol.Message, ...]:
    return conversation([convert(message, Message) for message in messages])


def test_texts_and_their_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert taken(
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ) == (
        protocol.Message("system", "be brief"),
        protocol.Message("user", "one\ntwo", name="ann"),
        protocol.Message("assistant", "no"),
    )


def test_a_call_and_its_result_which_learns_the_tools_name() -> None:
    assistant, result = taken(
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 °C"},
    )
    call = protocol.ToolCall("c1", "weather", '{"city": "Rome"}')
    assert assistant == protocol.Message("assistant", "", reasoning="hm", tool_calls=(call,))
    assert result == protocol.Message("tool", "12 °C", tool_call_id="c1", name="weather")


def test_no_arguments_are_an_empty_object() -> None:
    call = {"id": "c1", "function": {"name": "now", "arguments": ""}}
    assert taken({"role": "assistant", "tool_calls": [call]})[0].tool_calls[0].arguments == "{}"


def test_what_a_client_sends_back_of_an_earlier_answer() -> None:
    """openai's client dumps whole messages: with what is empty in them, and with what it parsed itself."""
    function = {**CALL["function"], "parsed_arguments": {"city": "Rome"}}  # type: ignore[dict-item]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None,
        "refusal": "I cannot",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "parsed": {"a": 1},
        "tool_calls": None,
    }
    assert taken(message) == (protocol.Message("assistant", "I cannot"),)
    assert taken(message | {"refusal": None, "tool_calls": [CALL | {"function": function, "index": 0}]})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "assistant"}, "messages[0].content"),
        ({"role": "tool", "content": "1"}, "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "c1"}, "messages[0].content"),
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "messages[0].tool_calls"),
        ({"role": "user", "content": "a", "tool_call_id": "c1"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": "a", "reasoning_content": "b"}, "messages[0].reasoning_content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        *(
            (
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": text}}],
                },
                "messages[0].tool_calls[0].function.arguments",
            )
            for text in ("{", "[]", "null", "5", "NaN", '{"a": 1} x', "[" * 5000)
        ),
    ],
)
def test_what_does_not_belong_is_refused_by_its_place(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        taken(message)
    assert raised.value.param == param
    assert str(raised.value).startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"type": "image_url", "image_url": {"url": "data:…"}}, "images"),
        ({"input_audio": {"data": "…"}, "type": "input_audio"}, "audio"),
        ({"type": "file", "file": {"file_id": "x"}}, "files"),
    ],
)
def test_what_is_no_text_is_refused_by_name(part: dict[str, Any], what: str) -> None:
    name = part["type"]
    refusal = rf"content\[0\].{name}: models here read text only; leave {what} out"
    with pytest.raises(Unsupported, match=refusal):
        taken({"role": "user", "content": [part]})
    with pytest.raises(Unsupported, match=refusal):
        taken({"role": "user", "content": [{"type": "text", "text": "a", name: {}}]})
