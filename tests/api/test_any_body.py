"""Whatever a client sends as JSON, it is either understood or refused by name; nothing else is raised."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from edged.api.body import parse_fields, request_of
from edged.api.generation.order import order_of
from edged.api.openai import chat, completions
from edged.api.openai import tools as chat_tools
from edged.api.openai.chat_request import ChatRequest
from edged.api.openai.completion_request import CompletionRequest
from edged.api.openai.embeddings import EMBEDDINGS, EmbeddingsRequest
from edged.api.openai.inputs import inputs_of
from edged.api.openai.response_format import given as schema_given
from edged.api.openai.responses import routes as responses
from edged.api.openai.responses.request import ResponsesRequest
from edged.errors import InvalidRequest
from edged.runner import protocol

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800")
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "input_text"]), "text": _JSON}) | _JSON
_FUNCTION = st.fixed_dictionaries({"name": _JSON}, optional={"parameters": _JSON, "description": _JSON})
_TOOL = st.fixed_dictionaries({"type": st.just("function"), "function": _FUNCTION}) | _JSON
_CALL = st.fixed_dictionaries(
    {"id": _JSON, "function": st.fixed_dictionaries({"name": _JSON, "arguments": _JSON})}
)
_MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "tool"]) | _JSON,
        "content": st.lists(_PART, max_size=2) | _JSON,
    },
    optional={"tool_calls": st.lists(_CALL | _JSON, max_size=2), "tool_call_id": _JSON, "name": _JSON},
)
_ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]) | _JSON},
    optional={
        "role": st.just("user") | _JSON,
        **dict.fromkeys(("content", "output", "summary"), st.lists(_PART, max_size=2) | _JSON),
        **dict.fromkeys(("call_id", "name", "arguments"), _JSON),
    },
)


def _bodies(kind: type[Struct], **usual: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with some of a request's fields, whose values are anything, and its own where it needs them."""
    names = dict.fromkeys(kind.__struct_fields__, _JSON)
    return st.fixed_dictionaries(usual, optional={name: names[name] for name in names.keys() - usual.keys()})


@given(_bodies(ChatRequest, messages=st.lists(_MESSAGE, max_size=3), tools=st.lists(_TOOL, max_size=2)))
@settings(max_examples=150, deadline=None)
def test_any_chat_is_understood_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        wanted = request_of(parse_fields(json.dumps(body).encode()), chat.CHAT, ChatRequest)
        offer = chat_tools.offer(wanted.tools, wanted.tool_choice, parallel=True)
        generate = chat.generate_of(wanted)
        order_of(generate, offer, schema_given(wanted.json_schema))
        protocol.pack(generate)


@given(_bodies(CompletionRequest, prompt=_JSON))
@settings(max_examples=100, deadline=None)
def test_any_completion_is_understood_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        fields = parse_fields(json.dumps(body).encode())
        wanted = request_of(fields, completions.COMPLETIONS, CompletionRequest)
        protocol.pack(completions.ordered_of(wanted).generate)


@given(_bodies(ResponsesRequest, input=st.lists(_ITEM, max_size=3) | _JSON))
@settings(max_examples=150, deadline=None)
def test_any_response_is_understood_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        fields = parse_fields(json.dumps(body).encode())
        protocol.pack(responses.generate_of(request_of(fields, responses.RESPONSES, ResponsesRequest)))


@given(_JSON | st.lists(st.text() | st.integers(0, 9) | st.lists(st.integers(0, 9))))
@settings(max_examples=200, deadline=None)
def test_any_input_is_understood_or_refused(value: Any) -> None:
    with contextlib.suppress(InvalidRequest):
        fields = parse_fields(json.dumps({"input": value}).encode())
        texts, token_lists = inputs_of(request_of(fields, EMBEDDINGS, EmbeddingsRequest).input, "input")
        assert bool(texts) != bool(token_lists)
        protocol.pack(protocol.Embed(id=1, texts=texts, token_lists=token_lists))


@given(st.binary() | st.text().map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse_fields(body), dict)


@given(st.sampled_from(["role", "type", "tool_choice"]), st.text(min_size=1) | st.just("x` - at `$.model`"))
def test_a_value_that_is_none_of_a_few_is_not_repeated(field: str, value: str) -> None:
    message: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    body: dict[str, Any] = {"model": "m", "messages": [message], "tool_choice": "none"}
    marked = f"§{value}§"
    {"role": message, "type": message["content"][0], "tool_choice": body}[field][field] = marked
    with pytest.raises(InvalidRequest) as caught:
        request_of(body, chat.CHAT, ChatRequest)
    path = {"role": "messages[0].role", "type": "messages[0].content[0].type"}.get(field, field)
    assert str(caught.value).startswith(f"{path}: ")
    assert marked not in str(caught.value)
