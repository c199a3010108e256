"""A response's input as a runner takes it."""

from typing import Any

import pytest

from edged.api.body import convert
from edged.api.openai.responses.items import Item, conversation
from edged.errors import InvalidRequest
from edged.runner import protocol

CALL = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "12 °C"}
REASONING = {
    "type": "reasoning",
    "id": "rs",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
}


def taken(*items: dict[str, Any], instructions: str | None = None) -> tuple[protocol.Message, ...]:
    return conversation(instructions, [convert(item, Item) for item in items])


def test_a_text_is_the_users() -> None:
    assert conversation(None, "hi") == (protocol.Message("user", "hi"),)
    assert conversation("be brief", "hi") == (
        protocol.Message("system", "be brief"),
        protocol.Message("user", "hi"),
    )


def test_instructions_and_a_system_message_are_one() -> None:
    system = {"role": "developer", "content": [{"type": "input_text", "text": "in French"}]}
    assert taken(system, {"role": "user", "content": "hi"}, instructions="be brief") == (
        protocol.Message("system", "be brief\n\nin French"),
        protocol.Message("user", "hi"),
    )


def test_the_items_of_an_answer_are_one_message() -> None:
    said = {
        "type": "message", "role": "assistant", "id": "msg", "status": "completed",
        "content": [{"type": "output_text", "text": "I look", "annotations": [], "logprobs": []}],
    }  # fmt: skip
    told = taken({"role": "user", "content": "weather?"}, REASONING, said, CALL, RESULT)
    call = protocol.ToolCall("c1", "weather", "{}")
    assert told == (
        protocol.Message("user", "weather?"),
        protocol.Message("assistant", "I look", reasoning="hm", tool_calls=(call,)),
        protocol.Message("tool", "12 °C", tool_call_id="c1", name="weather"),
    )


def test_a_call_after_a_result_begins_a_message_of_its_own() -> None:
    told = taken(CALL, RESULT, CALL | {"call_id": "c2"}, CALL | {"call_id": "c3"})
    assert [message.role for message in told] == ["assistant", "tool", "assistant"]
    assert [call.id for call in told[2].tool_calls] == ["c2", "c3"]


def test_reasoning_without_content_is_its_summary() -> None:
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    [message] = taken({"type": "reasoning", "summary": summary})
    assert message.reasoning == "a\nb"


def test_two_messages_of_the_assistant_stay_two() -> None:
    told = taken({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"})
    assert [message.content for message in told] == ["a", "b"]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "user"}, "input[0].content"),
        ({"content": "a"}, "input[0].role"),
        (CALL | {"arguments": "no"}, "input[0].arguments"),
        (CALL | {"call_id": None}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c1", "arguments": "{}"}, "input[0].name"),
        ({"type": "function_call_output", "call_id": "c1"}, "input[0].output"),
        ({"type": "item_reference", "id": "msg"}, "input[0].type"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
            "input[0].content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "a", "file_id": "x"}]},
            "input[0].content[0].file_id",
        ),
        (CALL | {"content": "a"}, "input[0].content"),
        (RESULT | {"arguments": "{}"}, "input[0].arguments"),
        ({"role": "user", "content": "a", "output": "b"}, "input[0].output"),
        ({"type": "web_search_call"}, "type"),
        (REASONING | {"encrypted_content": "gAAA"}, "encrypted_content"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_place(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        taken(item)
    assert raised.value.param == param


def test_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="input: is empty"):
        taken()
