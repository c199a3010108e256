"""`response_format` and `json_schema` at the door. What the grammars hold is tested with the compiler."""

import time
from typing import Any

import pytest

from edged.api.body import Fields, request_of
from edged.api.json_schema import grammar_of
from edged.api.openai.chat import CHAT
from edged.api.openai.chat_request import ChatRequest
from edged.api.openai.completion_request import CompletionRequest
from edged.api.openai.completions import COMPLETIONS, ordered_of
from edged.api.openai.response_format import given, only, schema_of
from edged.errors import InvalidRequest
from tests.api.conftest import Json, Running, chat_body

SCHEMA: Json = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
NAMED: Json = {"name": "it", "description": "x", "strict": True, "schema": SCHEMA}


def asked(fields: Fields) -> tuple[Any, str] | None:
    """The schema that a chat with these fields is held to."""
    wanted = request_of(chat_body("hi", **fields), CHAT, ChatRequest)
    return only(wanted.grammar, schema_of(wanted.response_format), given(wanted.json_schema))


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": NAMED}}, SCHEMA),
        ({"response_format": {"type": "json_schema", "json_schema": NAMED | {"strict": False}}}, SCHEMA),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}, SCHEMA),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, SCHEMA),
        ({"json_schema": SCHEMA}, SCHEMA),
        ({"json_schema": SCHEMA, "response_format": {"type": "text"}}, SCHEMA),
        ({"json_schema": True}, True),
    ],
)
def test_formats_are_schemas(edged: Running, fields: Fields, schema: Any) -> None:
    found = asked(fields)
    assert found is not None
    assert found[0] == schema
    assert edged.chat("hi", **fields).status == 200


@pytest.mark.parametrize(
    "fields",
    [{}, {"response_format": None}, {"response_format": {"type": "text"}}, {"json_schema": None}],
)
def test_no_format_leaves_the_answer_free(fields: Fields) -> None:
    assert asked({**fields, "grammar": 'root ::= "x"'}) is None


def test_text_completions_take_a_schema(edged: Running) -> None:
    body = {"model": "chat", "prompt": "hi", "json_schema": SCHEMA}
    wanted = request_of(dict(body), COMPLETIONS, CompletionRequest)
    assert ordered_of(wanted).generate.sampling.grammar == grammar_of(SCHEMA, "schema")
    assert edged.post("/v1/completions", body).status == 200
    answer = edged.post("/v1/completions", body | {"json_schema": {"not": {}}})
    assert (answer.status, answer.error["param"]) == (400, "json_schema.not")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "text", "more": 1}}, "response_format.more"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED | {"name": "a b"}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED | {"schema": [1]}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED | {"schema": None}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object", "json_schema": NAMED}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED, "schema": SCHEMA}},
            "response_format.schema",
        ),
        ({"response_format": {"type": "json_object"}, "grammar": 'root ::= "x"'}, "response_format"),
        ({"response_format": {"type": "json_object"}, "json_schema": SCHEMA}, "response_format"),
        ({"json_schema": SCHEMA, "grammar": 'root ::= "x"'}, "json_schema"),
        ({"json_schema": {"properties": {"a": {"pattern": "("}}}}, "json_schema.properties.a.pattern"),
    ],
)
def test_what_is_no_format_is_refused_by_name(edged: Running, fields: Json, param: str) -> None:
    answer = edged.chat("hi", **fields)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_a_schema_with_numbers_that_are_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is not a number"):
        grammar_of({"type": "integer", "minimum": True}, "schema")


@pytest.mark.parametrize("depth", [50, 250])
def test_deep_schemas_cost_no_more_than_an_error(edged: Running, depth: int) -> None:
    schema: Json = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    began = time.monotonic()
    answer = edged.chat("hi", json_schema=schema)
    assert time.monotonic() - began < 10
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.error["param"].startswith("json_schema")
