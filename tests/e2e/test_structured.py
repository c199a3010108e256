"""Answers held to a JSON schema by SmolLM2 at temperature 1: they parse and fulfil it, whatever it says."""

import concurrent.futures
import json
import os
import re
import time
from typing import Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pydantic
import pytest

from tests.answer_schemas import AGE, SCHEMAS, list_of, object_of, text_of
from tests.e2e.daemon import Daemon
from tests.unit.api.schemas import HONOURED

# 10 for each of the 20 schemas make the 200 answers that the project promises.
ANSWERS = int(os.environ.get("EDGED_STRUCTURED_ANSWERS", "3"))


def _ask(daemon: Daemon, about: str, seed: int, **options: Any) -> Any:
    """The choice of one answer at temperature 1."""
    question = f"Describe {about} as JSON."
    status, answer = daemon.chat(question, **{"temperature": 1, "seed": seed, "max_tokens": 1024, **options})
    assert status == 200, answer
    return answer["choices"][0]


def _format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_parse_and_fulfil_the_schema(daemon: Daemon, name: str) -> None:
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        asked = [
            threads.submit(_ask, daemon, name, seed, response_format=_format(schema))
            for seed in range(ANSWERS)
        ]
        choices = [each.result() for each in asked]
    for choice in choices:
        assert choice["finish_reason"] == "stop", choice
        validator.validate(json.loads(choice["message"]["content"]))


def test_llama_cpp_reads_every_grammar(daemon: Daemon) -> None:
    pid = daemon.model("smollm2")["pid"]
    for schema in HONOURED:
        status, answer = daemon.chat("hi", json_schema=schema, max_tokens=2, temperature=1)
        assert status == 200, (schema, answer)
    assert daemon.model("smollm2")["pid"] == pid


class Step(pydantic.BaseModel):
    """A part of a recipe."""

    text: str = pydantic.Field(max_length=40)
    minutes: int = pydantic.Field(ge=0, le=600)


class Recipe(pydantic.BaseModel):
    """What OpenAI's client turns into a strict schema, with references."""

    title: str = pydantic.Field(max_length=40)
    course: Literal["starter", "main", "dessert"]
    steps: list[Step] = pydantic.Field(min_length=1, max_length=3)
    note: str | None = pydantic.Field(max_length=20)


def test_openai_client_parses_into_pydantic(daemon: Daemon) -> None:
    answer = daemon.client().chat.completions.parse(
        model="smollm2",
        messages=[{"role": "user", "content": "Give me a recipe."}],
        response_format=Recipe,
        temperature=1,
        seed=1,
    )
    recipe = answer.choices[0].message.parsed
    assert isinstance(recipe, Recipe)
    assert 1 <= len(recipe.steps) <= 3


def test_a_json_object_without_a_schema(daemon: Daemon) -> None:
    for seed in range(ANSWERS):
        choice = _ask(daemon, "a cat", seed, response_format={"type": "json_object"}, max_tokens=200)
        _check_open_ended(choice)


def test_a_recursive_answer(daemon: Daemon) -> None:
    schema = {
        "$defs": {"node": object_of(value=AGE, kids=list_of({"$ref": "#/$defs/node"}, 0, 2))},
        "$ref": "#/$defs/node",
    }
    choice = _ask(daemon, "a tree", 1, response_format=_format(schema), max_tokens=200)
    _check_open_ended(choice)
    assert re.match(r'\{"value": ?\d+, ?"kids": ?\[', choice["message"]["content"])


def _check_open_ended(choice: Any) -> None:
    """What may go on without end is either complete or said to be cut."""
    text = choice["message"]["content"]
    assert text.startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(text), dict)
        return
    assert choice["finish_reason"] == "length"


def test_an_answer_that_is_cut_says_so(daemon: Daemon) -> None:
    status, answer = daemon.chat(
        "Describe a cat.", response_format=_format(object_of(a=text_of())), max_tokens=3
    )
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "length"


def test_text_completions_take_llama_cpps_field(daemon: Daemon) -> None:
    body = {"model": "smollm2", "prompt": "A person:", "json_schema": SCHEMAS["a person"], "temperature": 1}
    status, answer = daemon.call("POST", "/v1/completions", body)
    assert status == 200, answer
    jsonschema.validate(json.loads(answer["choices"][0]["text"]), SCHEMAS["a person"])


def _many_ways(levels: int) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(levels):
        parts = [
            {"type": "object", "properties": {"a": schema, name: {"type": "null"}}, "required": ["a"]}
            for name in "bc"
        ]
        schema = {"anyOf": parts}
    return schema


HOSTILE: dict[str, Any] = {
    "3,000 values": {"enum": [f"value {n}" for n in range(3000)]},
    "endless": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "left recursion": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    "many ways": _many_ways(9),
    "many states": {"type": "string", "pattern": "a.{20}$"},
    "doubled": {
        "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
        | {"d30": {"type": "null"}},
        "$ref": "#/$defs/d0",
    },
    "half a schema": {"type": "string", "not": {"const": "a"}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_in_a_clear_error(daemon: Daemon, name: str) -> None:
    pid = daemon.model("smollm2")["pid"]
    began = time.monotonic()
    status, answer = daemon.chat("hi", response_format=_format(HOSTILE[name]))
    assert status == 400, answer
    assert time.monotonic() - began < 10  # a second on a quiet machine
    assert answer["error"]["param"].startswith("response_format.json_schema.schema")
    assert daemon.model("smollm2")["pid"] == pid


HEAVY: dict[str, Any] = {
    "5,000 characters": {"type": "string", "maxLength": 5000},
    "at least 2,000 characters": {"type": "string", "minLength": 2000, "maxLength": 90_000},
    "1,000 values": {"enum": [f"value {n}" for n in range(1000)]},
    "ways that begin alike": _many_ways(5),
    "200 optional fields": {"properties": {f"field {n}": {"type": "null"} for n in range(200)}},
    "long lists in lists": {"items": {"items": {"maxItems": 500}, "maxItems": 500}, "minItems": 400},
    "a pattern that backtracks elsewhere": {"type": "string", "pattern": "^((a|aa|a?b)+)+$", "maxLength": 60},
}


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_schemas_are_served(daemon: Daemon, name: str) -> None:
    pid = daemon.model("smollm2")["pid"]
    status, answer = daemon.chat(
        "hi", response_format=_format(HEAVY[name]), max_tokens=40, temperature=1, seed=1
    )
    assert status == 200, answer
    assert daemon.model("smollm2")["pid"] == pid
