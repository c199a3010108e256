"""Conversations in the forms that templates want them in."""

from typing import Any

import pytest

from edged.errors import InvalidRequest
from edged.runner.engine.conversation import Traits, options_of, variables_of
from edged.runner.protocol import Message, Tool, ToolCall

_TOOL = Tool("add", "Adds", '{"type": "object", "properties": {"a": {"type": "integer"}}}')
_CALL = ToolCall("call_1", "add", '{"a": 1}')
_SECOND = ToolCall("call_2", "add", '{"a": 2}')
_CALLED = Message("assistant", "", tool_calls=(_CALL, _SECOND))
_RESULTS = (Message("tool", "one", tool_call_id="call_1"), Message("tool", "two", tool_call_id="call_2"))
_USER = Message("user", "hi")


def _messages(*messages: Message, **traits: Any) -> list[Any]:
    written: list[Any] = variables_of(messages, (), Traits(**({"tools": "hermes"} | traits)))["messages"]
    return written


def test_a_conversation_as_hugging_face_names_it() -> None:
    thought = Message("assistant", "2", reasoning="1 + 1")
    variables = variables_of((_USER, _CALLED, *_RESULTS, thought), (_TOOL,), Traits(tools="hermes"))
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert variables["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": parameters}}
    ]
    assert variables["messages"] == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}},
                {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}},
            ],
        },
        {"role": "tool", "content": "one", "tool_call_id": "call_1", "name": "add"},
        {"role": "tool", "content": "two", "tool_call_id": "call_2", "name": "add"},
        {"role": "assistant", "content": "2", "reasoning_content": "1 + 1"},
    ]


def test_no_tools_are_none_or_an_empty_list() -> None:
    assert variables_of((), (), Traits())["tools"] is None
    assert variables_of((), (), Traits(no_tools="list"))["tools"] == []


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = variables_of((), (Tool("now"),), Traits(tools="hermes"))["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


def test_a_name_that_was_given_stays() -> None:
    (called, result) = _messages(_CALLED, Message("tool", "x", tool_call_id="call_1", name="mine"))
    assert result["name"] == "mine"
    assert "name" not in called


def test_arguments_and_content_in_the_other_form() -> None:
    (called,) = _messages(_CALLED, arguments="text", no_content="none")
    assert called["content"] is None
    assert called["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
    (spoken,) = _messages(Message("assistant", "", tool_calls=()), no_content="none")
    assert spoken["content"] == ""


def test_content_as_parts() -> None:
    assert _messages(_USER, parts=True)[0]["content"] == [{"type": "text", "text": "hi"}]


def test_mistral_gets_ids_of_nine_letters_the_same_for_call_and_result() -> None:
    called, result = _messages(_CALLED, _RESULTS[0], tools="mistral")
    given = called["tool_calls"][0]["id"]
    assert len(given) == 9
    assert given.isalnum()
    assert given == result["tool_call_id"] != called["tool_calls"][1]["id"]
    kept = Message("tool", "x", tool_call_id="abcDEF123")
    assert _messages(kept, tools="mistral")[0]["tool_call_id"] == "abcDEF123"


def test_calls_made_together_are_told_one_after_the_other_each_with_its_result() -> None:
    said = Message("assistant", "let me see", tool_calls=(_CALL, _SECOND))
    written = _messages(_USER, said, *_RESULTS, _USER, many_calls=False)
    assert [(each["role"], each["content"]) for each in written] == [
        ("user", "hi"),
        ("assistant", "let me see"),
        ("tool", "one"),
        ("assistant", ""),
        ("tool", "two"),
        ("user", "hi"),
    ]
    assert [call["id"] for each in written for call in each.get("tool_calls", ())] == ["call_1", "call_2"]


def test_results_stay_where_they_are_when_calls_come_alone() -> None:
    alone = Message("assistant", "", tool_calls=(_CALL,))
    lost = Message("tool", "of no call", tool_call_id="unknown")
    written = _messages(alone, _RESULTS[0], lost, many_calls=False)
    assert [each["content"] for each in written] == ["", "one", "of no call"]


def test_system_messages_begin_the_next_one_where_a_template_has_none() -> None:
    system = Message("system", "be brief")
    assert _messages(system, _USER, system="nowhere") == [{"role": "user", "content": "be brief\n\nhi"}]
    assert _messages(_USER, system, system="nowhere")[1] == {"role": "user", "content": "be brief"}
    assert _messages(system, Message("assistant", "a"), _USER, system="nowhere")[0]["role"] == "assistant"


def test_or_only_later_ones_where_it_has_one_at_the_beginning() -> None:
    system, later = Message("system", "be brief"), Message("system", "and kind")
    written = _messages(system, _USER, later, _USER, system="first")
    assert [each["role"] for each in written] == ["system", "user", "user"]
    assert written[-1]["content"] == "and kind\n\nhi"
    assert _messages(_USER, system="first") == [{"role": "user", "content": "hi"}]


def test_where_a_template_knows_no_tools_all_is_said_in_texts() -> None:
    variables = variables_of(
        (Message("system", "be brief"), _USER, _CALLED, *_RESULTS, _USER), (_TOOL,), Traits()
    )
    assert variables["tools"] is None
    system, user, called, results, again = variables["messages"]
    assert system["content"].startswith("be brief\n\n")
    assert '{"name": "add", "description": "Adds", "parameters"' in system["content"]
    assert '{"tool_calls": [{"name": ' in system["content"]
    assert '{"response": ' in system["content"]
    assert user == again == {"role": "user", "content": "hi"}
    assert called == {
        "role": "assistant",
        "content": '{"tool_calls": [{"name": "add", "arguments": {"a": 1}}, '
        '{"name": "add", "arguments": {"a": 2}}]}',
    }
    assert results["role"] == "user"
    assert results["content"] == (
        '{"tool_response": {"name": "add", "content": "one"}}\n'
        '{"tool_response": {"name": "add", "content": "two"}}'
    )


def test_tools_of_which_nobody_was_told_before_get_a_system_message_or_the_users() -> None:
    (system, user) = variables_of((_USER,), (_TOOL,), Traits())["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    (only,) = variables_of((_USER,), (_TOOL,), Traits(system="nowhere"))["messages"]
    assert only["role"] == "user"
    assert only["content"].endswith("\n\nhi")
    (last,) = variables_of((_RESULTS[0],), (), Traits())["messages"]
    assert last["content"] == '{"tool_response": {"name": null, "content": "one"}}'


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_is_nested_deeply_is_refused_before_anything_recurses_into_it(opening: str) -> None:
    def nested(levels: int) -> str:
        closing = "]" if opening == "[" else "}"
        return '{"a":' + opening * (levels - 1) + "1" + closing * (levels - 1) + "}"

    assert options_of(nested(100))
    for levels in (101, 900):
        with pytest.raises(InvalidRequest, match="nested more than 100 deep"):
            options_of(nested(levels))


@pytest.mark.parametrize("arguments", ["[1]", "{", '{"a": "\\ud800"}', '{"a": ' * 2000, "é"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    message = Message("assistant", "", tool_calls=(ToolCall("1", "add", arguments),))
    for traits in (Traits(), Traits(tools="hermes")):
        with pytest.raises(InvalidRequest, match="not the text of a JSON object") as caught:
            variables_of((message,), (), traits)
        assert caught.value.param == "messages"


def test_no_arguments_at_all_are_none() -> None:
    message = Message("assistant", "", tool_calls=(ToolCall("1", "now", ""),))
    assert _messages(message)[0]["tool_calls"][0]["function"]["arguments"] == {}


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="parameters are not a JSON schema") as caught:
        variables_of((), (Tool("add", "", "true"),), Traits(tools="hermes"))
    assert caught.value.param == "tools"


def test_options_are_an_object_with_names_of_its_own() -> None:
    assert options_of("") == {}
    assert options_of('{"enable_thinking": false, "n": 123456789012345678901234}') == {
        "enable_thinking": False,
        "n": 123456789012345678901234,
    }
    for text, problem in (("[]", "is not a JSON object"), ('{"tools": []}', "kwargs.tools: is set by")):
        with pytest.raises(InvalidRequest, match=problem) as caught:
            options_of(text)
        assert caught.value.param == "chat_template_kwargs"
