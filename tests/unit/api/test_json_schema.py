"""Grammars from schemas: whatever can be read out of them fulfils the schema, or the schema is refused."""

import contextlib
import datetime
import json
import random
import re
import time
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.api.errors import Unsupported
from edged.api.json_schema import grammar_of
from edged.api.json_schema.gbnf import MAX_GRAMMAR_BYTES as OURS
from edged.errors import InvalidRequest
from edged.runner.engine.sampling import MAX_GRAMMAR_BYTES, check_grammar
from tests.unit.api.grammar_texts import Grammar
from tests.unit.api.schemas import HONOURED

N_TEXTS = 12
FORMAT = jsonschema.Draft202012Validator.FORMAT_CHECKER


def texts(schema: Any, n: int = N_TEXTS, seed: int = 0) -> list[str]:
    """Random answers that the schema's grammar allows."""
    text = grammar_of(schema, "schema")
    check_grammar(text)
    grammar = Grammar(text)
    rng = random.Random(seed)
    return [grammar.text(rng) for _ in range(n)]


def check(schema: Any, n: int = N_TEXTS, seed: int = 0) -> list[Any]:
    """The same, parsed; each fulfils the schema."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=FORMAT)
    values = []
    for text in texts(schema, n, seed):
        values.append(json.loads(text))
        problems = [error.message for error in validator.iter_errors(values[-1])]
        assert not problems, f"{text}: {problems}\n{schema}"
        assert not re.search(r"\s\s|\n", re.sub(r'"(\\.|[^"\\])*"', "", text)), "padding"
    return values


def refusal(schema: Any) -> str:
    """Why a schema is refused, which must not take long."""
    began = time.monotonic()
    with pytest.raises(InvalidRequest) as raised:
        grammar_of(schema, "schema")
    assert time.monotonic() - began < 10  # a second on a quiet machine
    assert raised.value.param
    assert raised.value.param.startswith("schema")
    assert str(raised.value).startswith(raised.value.param + ": ")
    return str(raised.value)


def test_the_bound_is_the_runners() -> None:
    assert OURS == MAX_GRAMMAR_BYTES


@pytest.mark.parametrize("schema", HONOURED, ids=lambda schema: json.dumps(schema)[:60])
def test_what_is_generated_fulfils_the_schema(schema: Any) -> None:
    check(schema, n=60)


def test_nullable_adds_null() -> None:
    found = texts({"type": "boolean", "nullable": True}, n=40)
    assert set(found) == {"true", "false", "null"}


@pytest.mark.parametrize(
    ("schema", "every"),
    [
        ({"type": "integer", "minimum": -3, "maximum": 11}, {str(n) for n in range(-3, 12)}),
        (
            {"type": "integer", "exclusiveMinimum": 97, "exclusiveMaximum": 103},
            {"98", "99", "100", "101", "102"},
        ),
        ({"enum": ["a", "ab", 1, None]}, {'"a"', '"ab"', "1", "null"}),
        (
            {"type": "string", "pattern": "^(ab?|c){1,2}$", "maxLength": 2},
            {f'"{each}"' for each in ("a", "ab", "c", "aa", "ac", "ca", "cc")},
        ),
        (
            {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}},
            {"{}", '{"a":1}', '{"b":2}', '{"a":1,"b":2}'},
        ),
        ({"type": "array", "items": {"const": 1}, "maxItems": 2}, {"[]", "[1]", "[1,1]"}),
    ],
)  # fmt: skip
def test_nothing_is_left_out(schema: Any, every: set[str]) -> None:
    assert {text.replace(" ", "") for text in texts(schema, n=900)} == every


def test_code_points_in_patterns() -> None:
    assert set(texts({"type": "string", "pattern": "^\\u{1F680}\\u00e9[\\x41\\t]$"})) == {
        '"🚀éA"',
        '"🚀é\\t"',
    }


def test_groups_may_have_names() -> None:
    assert set(texts({"type": "string", "pattern": "^(?<x>a)(?P<y>b)$"})) == {'"ab"'}


def test_dates_are_of_the_calendar() -> None:
    for value in check({"type": "string", "format": "date"}, n=400):
        datetime.date.fromisoformat(value)
    for value in check({"type": "string", "format": "date-time"}, n=100):
        datetime.datetime.fromisoformat(value)


def test_a_number_with_few_digits_is_neither_missed_nor_let_in() -> None:
    schema = {"type": "number", "minimum": 0.3, "exclusiveMaximum": 1.2}
    found = {text for text in texts(schema, n=3000) if len(text) <= 3}
    assert found == {"0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1", "1.0", "1.1"}


def test_strings_hold_no_control_characters_and_no_half_surrogates() -> None:
    for text in texts({"type": "string", "minLength": 50, "maxLength": 60}, n=200):
        text.encode()
        assert all(character >= " " and not "\x7f" <= character < "\xa0" for character in text)
        assert len(json.loads(text)) >= 50


def test_any_value_nests_boundedly() -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert 1 < max(depth(value) for value in check({"type": "object"}, n=300)) <= 6


REFUSED: list[tuple[Any, str]] = [
    (3, "schema: is neither"),
    ({"type": "any"}, "schema.type"),
    ({"type": []}, "schema.type"),
    ({"not": {}}, "schema.not: "),
    ({"if": {}, "then": {}}, "schema.if: "),
    ({"patternProperties": 3}, "schema.patternProperties: "),
    ({"patternProperties": {"(?<=a)b": {}}}, "schema.patternProperties.(?<=a)b"),
    ({"patternProperties": dict.fromkeys("abcd", True)}, "schema.patternProperties: 4"),
    ({"allOf": [{"patternProperties": {"a": {}}}, {"properties": {"a": {}}}]}, "schema.patternProperties: "),
    ({"propertyNames": 3}, "schema.propertyNames: "),
    ({"propertyNames": {"pattern": "^a"}, "required": ["b"]}, "schema.properties.b: nothing"),
    ({"uniqueItems": True}, "schema.uniqueItems: "),
    ({"contains": {}}, "schema.contains: "),
    ({"properties": {"a": {"properties": {"b": {"dependentSchemas": {}}}}}}, "properties.a.properties.b.dep"),
    ({"unevaluatedProperties": False}, "schema.unevaluatedProperties: "),
    ({"$dynamicRef": "#a"}, "schema.$dynamicRef: "),
    ({"$ref": "http://example.com/x"}, "schema.$ref: only"),
    ({"$ref": "#/$defs/x"}, "schema.$ref: points to nothing"),
    ({"$ref": "#"}, "refers to itself"),
    ({"$ref": 3}, "schema.$ref: is not"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "refers to itself"),
    ({"anyOf": []}, "schema.anyOf"),
    (False, "nothing fulfils"),
    ({"enum": []}, "schema.enum"),
    ({"enum": [1], "type": "string"}, "nothing fulfils"),
    ({"enum": ["a"], "minLength": 3}, "schema.minLength"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing fulfils"),
    ({"type": "string", "minLength": -1}, "schema.minLength"),
    ({"type": "string", "minLength": True}, "schema.minLength"),
    ({"type": "string", "maxLength": 10**9}, "schema.maxLength"),
    ({"type": "string", "format": "json-pointer"}, "schema.format: only date"),
    ({"type": "string", "pattern": "^(a"}, "schema.pattern"),
    ({"type": "string", "pattern": "a)"}, "schema.pattern"),
    ({"type": "string", "pattern": "a(?=b)"}, "schema.pattern"),
    ({"type": "string", "pattern": "(?!^a)b"}, "schema.pattern"),
    ({"type": "string", "pattern": "^(?!a"}, "schema.pattern"),
    ({"type": "string", "pattern": "^(?=a)b"}, "nothing fulfils"),
    ({"properties": {"a": {"$id": "x"}}}, "schema.properties.a.$id"),
    ({"type": "string", "pattern": "(a)\\1"}, "schema.pattern"),
    ({"type": "string", "pattern": "\\bword"}, "schema.pattern"),
    ({"type": "string", "pattern": "a**"}, "schema.pattern"),
    ({"type": "string", "pattern": "a{2,1}"}, "schema.pattern"),
    ({"type": "string", "pattern": "a$b"}, "schema.pattern"),
    ({"type": "string", "pattern": "(^a|b)"}, "schema.pattern"),
    ({"type": "string", "pattern": "[z-a]"}, "schema.pattern"),
    ({"type": "string", "pattern": "\\p{L}"}, "schema.pattern"),
    ({"type": "string", "pattern": "^\\u0000$"}, "nothing fulfils"),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "nothing fulfils"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "nothing fulfils"),
    ({"type": "integer", "minimum": "3"}, "schema.minimum"),
    ({"type": "integer", "exclusiveMinimum": True}, "schema.exclusiveMinimum"),
    ({"type": "integer", "minimum": 10**30}, "schema.minimum"),
    ({"type": "number", "maximum": 1e300}, "schema.maximum"),
    ({"type": "number", "multipleOf": 0.1}, "schema.multipleOf"),
    ({"type": "integer", "multipleOf": 3}, "schema.multipleOf"),
    ({"type": "integer", "multipleOf": 0}, "schema.multipleOf"),
    ({"type": "array", "items": [{}]}, "schema.items"),
    ({"type": "array", "items": False, "minItems": 1}, "schema.items"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "nothing fulfils"),
    ({"type": "object", "properties": {"a": {}}, "minProperties": 2}, "schema.minProperties"),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1}, "schema.maxProperties"),
    ({"type": "object", "maxProperties": 0}, "schema.maxProperties"),
    ({"properties": {"a": {}}, "additionalProperties": True, "maxProperties": 3}, "schema.maxProperties"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "schema.oneOf: "),
    ({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "schema.oneOf: "),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "two different pattern"),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "nothing fulfils"),
    ({"properties": {"self": {"$ref": "#"}}, "required": ["self"], "type": "object"}, "no finite instance"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "no finite instance"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "why"), REFUSED, ids=lambda each: json.dumps(each)[:50])
def test_what_cannot_be_held_is_refused_by_name(schema: Any, why: str) -> None:
    assert why in refusal(schema)


def _doubling(depth: int) -> Any:
    """Alternatives that begin alike on every level: 2^depth ways to read one text."""
    schema: Any = {"type": "null"}
    for _ in range(depth):
        one = {"type": "object", "properties": {"a": schema, "b": {"type": "null"}}, "required": ["a", "b"]}
        two = {"type": "object", "properties": {"a": schema, "c": {"type": "null"}}, "required": ["a", "c"]}
        schema = {"anyOf": [one, two]}
    return schema


def _nested(depth: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def _references(depth: int, name: str) -> Any:
    defs = {
        f"d{at}": {name: [{"$ref": f"#/$defs/d{at + 1}"}, {"$ref": f"#/$defs/d{at + 1}"}]}
        for at in range(depth)
    }
    return {"$defs": {**defs, f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


BOMBS: dict[str, Any] = {
    "an enum of 10,000": {"enum": list(range(10_000))},
    "70,000 characters": {"description": "x" * 70_000},
    "many ways": _doubling(10),
    "recursive ways": {
        "anyOf": [
            {"type": "object", "properties": {"a": {"$ref": "#"}, name: {"type": "null"}}, "required": ["a"]}
            for name in "bc"
        ]
        + [{"type": "null"}]
    },
    "anyOf doubled by references": _references(30, "anyOf"),
    "allOf doubled by references": _references(30, "allOf"),
    "deep references": _references(200, "anyOf"),
    "nested deeply": _nested(900),
    "products of anyOf": {"allOf": [{"anyOf": [{"minLength": n} for n in range(10)]}] * 12},
    "many empty keywords": {
        "$defs": {"a": {f"x-{n}": 0 for n in range(3000)}},
        "prefixItems": [{"anyOf": [{"$ref": "#/$defs/a"}] * 20} for _ in range(50)],
    },
    "one large schema in many": {
        "$defs": {"a": {"properties": {f"p{n}": {} for n in range(1000)}}},
        "prefixItems": [{"allOf": [{"$ref": "#/$defs/a"}, {"required": [f"r{n}"]}]} for n in range(400)],
    },
    "constants in many": {
        "$defs": {"k": {"enum": [f"value {n}" for n in range(1000)]}},
        "oneOf": [{"properties": {"k": {"$ref": "#/$defs/k"}}, "required": ["k", str(n)]} for n in range(99)],
    },
    "a pattern of many states": {"type": "string", "pattern": "a.{20}$"},
    "nested counts": {"type": "string", "pattern": "^(((a{1,100}b?){1,100}c?){1,100}d?)$"},
    "a long pattern": {"type": "string", "pattern": "a?" * 1000},
    "nested groups": {"type": "string", "pattern": "(" * 200 + ")" * 200},
    "many long strings": {"prefixItems": [{"type": "string", "maxLength": 400 + n} for n in range(200)]},
    "many numbers": {"prefixItems": [{"type": "number", "minimum": n / 7} for n in range(400)]},
    "many properties": {"properties": {str(n): {"type": "null"} for n in range(300)}},
    "many patterns": {"prefixItems": [{"pattern": f"^[^{chr(200 + n)}]{{9,99}}x"} for n in range(200)]},
    "long names": {"properties": {"n" * 9_000 + str(n): {} for n in range(4)}, "additionalProperties": True},
    "a huge multiple": {"type": "integer", "multipleOf": 2, "minimum": -(10**19), "maximum": 10**19},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_soon(name: str) -> None:
    refusal(BOMBS[name])


def test_a_pattern_that_backtracks_elsewhere_is_one_way_here() -> None:
    found = texts({"type": "string", "pattern": "^((a|aa|a?b)+)+$", "maxLength": 40})
    assert all(re.fullmatch(r'"[ab]+"', text) for text in found)


def test_equal_schemas_share_their_rules() -> None:
    point = {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}}
    one = grammar_of({"type": "object", "properties": {"a": point}}, "s")
    many = grammar_of({"type": "object", "properties": dict.fromkeys("abcdefgh", point)}, "s")
    assert len(many) < len(one) + 8 * 50


# ---- any schema ----

_NAMES = st.text('ab"\\é', max_size=3)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def _partly(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=parts)


def _typed(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _partly(**parts).map(lambda made: {"type": kind, **made})


_NUMBERS = st.integers(-2000, 2000) | st.integers(-5000, 5000).map(lambda n: n / 1000)
_COUNT = st.integers(0, 4)
_ATOM = st.sampled_from(["a", "b", "[a-c]", "\\d", ".", "[^a]", '"', "\\\\", "(a|b)", "(ab|a)*", "\\n", "é"])
_TIMES = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "+?"])
_PATTERN = st.builds(
    lambda start, parts, end: start + "".join(parts) + end,
    st.sampled_from(["^", "", "^(?=.*a)", "^(?!b|ab$)", "(?!aa)", "(?=a|.b)(?!ab)"]),
    st.lists(st.builds(str.__add__, _ATOM, _TIMES), max_size=4),
    st.sampled_from(["$", ""]),
)  # fmt: skip
_SCALARS = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(_VALUES, min_size=1, max_size=5).map(lambda values: {"enum": values}),
    _VALUES.map(lambda value: {"const": value}),
    _typed("integer", minimum=_NUMBERS, maximum=_NUMBERS, exclusiveMinimum=_NUMBERS),
    _typed("number", minimum=_NUMBERS, maximum=_NUMBERS, exclusiveMaximum=_NUMBERS),
    _typed("string", minLength=_COUNT, maxLength=st.integers(2, 9)),
    _typed("string", pattern=_PATTERN, maxLength=st.integers(2, 9)),
    _typed("string", format=st.sampled_from(["date", "time", "date-time", "uuid", "ipv4"])),
)


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(_NAMES, inner, max_size=4)
    objects = _typed(
        "object",
        properties=properties,
        patternProperties=st.dictionaries(_PATTERN.filter(bool), inner, max_size=2),
        propertyNames=st.sampled_from([{"maxLength": 2}, {"pattern": "^a"}, {"enum": ["a", "b"]}]),
        required=st.lists(_NAMES, max_size=2),
        additionalProperties=st.booleans() | inner,
    )
    arrays = _typed(
        "array",
        items=inner,
        minItems=_COUNT,
        maxItems=_COUNT,
        prefixItems=st.lists(inner, min_size=1, max_size=2),
    )
    several = st.lists(inner, min_size=1, max_size=3)
    combined = _partly(anyOf=several, allOf=st.lists(inner, min_size=1, max_size=2), oneOf=several)
    return objects | arrays | combined | st.just({"$ref": "#"})


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(_SCALARS, _composed, max_leaves=6), st.integers(0, 999))
def test_any_schema_is_held_or_refused(schema: Any, seed: int) -> None:
    wanted = {"type": "object", "properties": {"it": schema}}
    try:
        grammar_of(wanted, "schema")
    except Unsupported:
        return
    check(wanted, n=6, seed=seed)


# ---- bombs of any make ----

_NEXT = st.integers(0, 7).map(lambda at: {"$ref": f"#/$defs/d{at}"})
_LARGE = st.sampled_from([1, 50, 499, 2000, 99_999])
_FUSE = st.one_of(
    _typed(
        "string", minLength=_LARGE, maxLength=_LARGE, pattern=st.sampled_from(["a.{9}$", "(a|b)*c{400}", "."])
    ),
    _typed("integer", minimum=st.integers(-(10**18), 10**18), multipleOf=st.sampled_from([2, 7, 1000])),
    st.integers(1, 1100).map(lambda count: {"enum": [f"value {n}" for n in range(count)]}),
    st.integers(1, 300).map(
        lambda count: {"properties": {f"p{n}": {"type": "string"} for n in range(count)}}
    ),
)


def _amplified(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Few characters that say much: references to the same part in many places."""
    times = st.integers(1, 40)
    several = st.builds(lambda part, count, one: [part] * count + [one], _NEXT, times, inner)
    named = st.builds(lambda part, count: {f"n{n}": part for n in range(count)}, _NEXT, times)
    return st.one_of(
        _partly(anyOf=several, allOf=several, oneOf=several),
        _typed("array", items=inner, prefixItems=several, minItems=_LARGE, maxItems=_LARGE),
        _typed("object", properties=named, additionalProperties=inner, propertyNames=inner),
        _typed("object", patternProperties=st.dictionaries(_PATTERN, _NEXT, max_size=3), properties=named),
        _typed("object", properties=named, required=st.just([f"n{n}" for n in range(40)])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.recursive(_NEXT | _FUSE, _amplified, max_leaves=8), min_size=8, max_size=8))
def test_no_schema_costs_much(defs: list[Any]) -> None:
    schema = {"$defs": {f"d{at}": each for at, each in enumerate(defs)}, "$ref": "#/$defs/d0"}
    began_s = time.thread_time()
    with contextlib.suppress(InvalidRequest):
        assert len(grammar_of(schema, "schema").encode()) <= MAX_GRAMMAR_BYTES
    assert time.thread_time() - began_s < 5
