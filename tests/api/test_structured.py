"""`response_format` and `json_schema` at the door. What the grammars hold is tested with the compiler."""

import time
from typing import Any

import pytest

from edged.api.body import Fields
from edged.api.json_schema import grammar_of
from edged.api.openai.response_format import take_chat_format, take_text_format
from edged.errors import InvalidRequest
from edged.runner.protocol import Sampling
from tests.api.conftest import Json, Running

SCHEMA: Json = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
NAMED: Json = {"name": "it", "description": "x", "strict": True, "schema": SCHEMA}


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
def test_formats_become_grammars(edged: Running, fields: Fields, schema: Any) -> None:
    taken = dict(fields)
    sampling = take_chat_format(taken, Sampling(temperature=0.5))
    assert sampling == Sampling(temperature=0.5, grammar=grammar_of(schema, "schema"))
    assert not taken
    assert edged.chat("hi", **fields).status == 200


@pytest.mark.parametrize(
    "fields",
    [{}, {"response_format": None}, {"response_format": {"type": "text"}}, {"json_schema": None}],
)
def test_no_format_leaves_the_answer_free(fields: Fields) -> None:
    assert take_chat_format(fields, Sampling(grammar='root ::= "x"')).grammar == 'root ::= "x"'


def test_text_completions_take_a_schema(edged: Running) -> None:
    assert take_text_format({"json_schema": SCHEMA}, Sampling()).grammar == grammar_of(SCHEMA, "schema")
    body = {"model": "chat", "prompt": "hi", "json_schema": SCHEMA}
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
