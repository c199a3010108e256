"""POST /v1/responses: whole answers and events, by hand and through OpenAI's client."""

import json
from typing import Any

import openai
import pydantic
import pytest

from tests.api.conftest import Json, Running, Serve

TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
CALL = '<tool_call> {"name": "weather", "arguments": {"city": "Rome"}} </tool_call>'


def respond(edged: Running, text: str, **more: Any) -> Json:
    answer: Json = edged.post("/v1/responses", {"model": "chat", "input": text, **more}).json()
    return answer


def events_of(edged: Running, text: str, **more: Any) -> list[Json]:
    """The events of a stream; checks the frame around them and that they are numbered."""
    answer = edged.post("/v1/responses", {"model": "chat", "input": text, "stream": True, **more})
    assert answer.headers.get_content_type() == "text/event-stream"
    events = []
    for part in answer.body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    return events


def kinds(events: list[Json]) -> list[str]:
    """Their types, each once in a row."""
    types = [event["type"].removeprefix("response.") for event in events]
    return [each for place, each in enumerate(types) if types[place - 1 : place] != [each]]


def test_an_answer(edged: Running) -> None:
    answer = respond(edged, "one two", instructions="be brief", metadata={"a": "b"}, max_output_tokens=9)
    assert answer["object"] == "response"
    assert answer["status"] == "completed"
    assert answer["id"].startswith("resp_")
    [message] = answer["output"]
    assert message["id"].startswith("msg_")
    assert {**message, "id": ""} == {
        "type": "message",
        "id": "",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "one two", "annotations": [], "logprobs": []}],
    }
    assert answer["usage"] == {
        "input_tokens": 4,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 6,
    }
    asked = ("instructions", "metadata", "max_output_tokens", "tools", "tool_choice", "text", "store")
    assert [answer[name] for name in asked] == [
        "be brief", {"a": "b"}, 9, [], "auto", {"format": {"type": "text"}}, False,
    ]  # fmt: skip


def test_the_events_of_a_message(edged: Running) -> None:
    events = events_of(edged, "one two")
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["one", " two"]
    assert events[0]["response"]["status"] == "in_progress"
    last = events[-1]["response"]
    assert last["output"] == [events[-2]["item"]]
    assert last["usage"]["output_tokens"] == 2
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


def test_the_events_of_reasoning_text_and_calls(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?reasons=true"})
    events = events_of(edged, f"<think> hm </think> I look {CALL} {CALL}", tools=TOOLS)
    item = ("output_item.added", "content_part.added")
    end = ("content_part.done", "output_item.done")
    call = ("function_call_arguments.delta", "function_call_arguments.done", "output_item.done")
    assert kinds(events) == [
        *("created", "in_progress"),
        *(*item, "reasoning_text.delta", "reasoning_text.done", *end),
        *(*item, "output_text.delta", "output_text.done", *end),
        *("output_item.added", *call, "output_item.added", *call),
        "completed",
    ]
    output = events[-1]["response"]["output"]
    assert [each["type"] for each in output] == ["reasoning", "message", "function_call", "function_call"]
    assert [event["output_index"] for event in events if "item" in event] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert output == [event["item"] for event in events if event["type"] == "response.output_item.done"]
    whole = respond(edged, f"<think> hm </think> I look {CALL} {CALL}", tools=TOOLS)
    assert _without_ids(whole["output"]) == _without_ids(output)
    assert whole["usage"] == events[-1]["response"]["usage"]
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def _without_ids(output: list[Json]) -> list[Json]:
    return [{name: item[name] for name in item.keys() - {"id", "call_id"}} for item in output]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_short_is_incomplete(edged: Running, stream: bool) -> None:
    if stream:
        last = events_of(edged, "a b c", max_output_tokens=2)[-1]
        assert last["type"] == "response.incomplete"
        answer = last["response"]
    else:
        answer = respond(edged, "a b c", max_output_tokens=2)
    assert (answer["status"], answer["output"][0]["status"]) == ("incomplete", "incomplete")
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_empty_answer_has_an_empty_message(edged: Running) -> None:
    assert respond(edged, " ")["output"][0]["content"][0]["text"] == ""
    assert "output_text.done" in kinds(events_of(edged, " "))


def test_log_probabilities_where_they_are_asked_for(edged: Running) -> None:
    wanted: Json = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    whole = respond(edged, "a b", **wanted)["output"][0]["content"][0]["logprobs"]
    assert [entry["token"] for entry in whole] == ["a", " b"]
    assert [len(entry["top_logprobs"]) for entry in whole] == [2, 2]
    events = events_of(edged, "a b", **wanted)
    assert [
        each for e in events if e["type"] == "response.output_text.delta" for each in e["logprobs"]
    ] == whole
    [done] = [event for event in events if event["type"] == "response.output_text.done"]
    assert done["logprobs"] == whole


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"inputs": "a"}, "inputs"),
    ],
)
def test_what_edged_cannot_do_is_refused_by_name(edged: Running, fields: Json, param: str) -> None:
    answer = edged.post("/v1/responses", {"model": "chat", "input": "a", **fields})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert answer.error["message"].startswith(param)


def test_what_means_no_more_than_nothing_is_accepted(edged: Running) -> None:
    nothing = {
        "store": False,
        "background": False,
        "truncation": "disabled",
        "include": ["reasoning.encrypted_content"],
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": "auto"},
        "service_tier": "auto",
        "stream_options": {"include_obfuscation": False},
        "user": "me",
    }
    assert respond(edged, "hi", **nothing)["status"] == "completed"


def test_what_goes_wrong_in_a_stream_is_its_last_event(serve: Serve) -> None:
    edged = serve({"chat": "fake:generate?crash_after=1"})
    events = events_of(edged, "a b c")
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["code"] == "runner_failed"
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")


def test_openai_client_follows_a_conversation_with_calls(edged: Running) -> None:
    with edged.client() as client:
        with client.responses.stream(model="chat", input=f"I look {CALL}", tools=TOOLS) as stream:
            answer = stream.get_final_response()
        assert answer.output_text == "I look"
        [call] = [item for item in answer.output if item.type == "function_call"]
        assert call.parsed_arguments == {"city": "Rome"}
        told: list[Any] = [
            {"role": "user", "content": "what now"},
            *answer.output,
            {"type": "function_call_output", "call_id": call.call_id, "output": "12 °C"},
        ]
        again = client.responses.create(model="chat", input=told, tools=TOOLS)
        assert again.output_text == "what now"


def test_openai_client_parses_an_answer_into_a_model(edged: Running) -> None:
    class City(pydantic.BaseModel):
        name: str

    text = '{"name":"Rome"}'
    with edged.client() as client:
        parsed = client.responses.parse(model="chat", input=text, text_format=City)
        assert parsed.output_parsed == City(name="Rome")
        with client.responses.stream(model="chat", input=text, text_format=City) as stream:
            assert stream.get_final_response().output_parsed == City(name="Rome")


def test_openai_client_raises_its_own_errors(edged: Running) -> None:
    with edged.client() as client, pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="chat", input="a", previous_response_id="resp_1")
    assert raised.value.param == "previous_response_id"
