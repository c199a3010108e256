"""What is asked of a runner for tools and schemas: the grammar's own texts, read back."""

import json
import random
from types import SimpleNamespace
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]
import pytest

from edged.api.generation.course import Ordered
from edged.api.generation.events import Answer, Collected, Delta, Piece
from edged.api.generation.order import Offer, order_of
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.requests import Generation
from edged.runner.engine.sampling import MAX_GRAMMAR_BYTES, check_grammar
from edged.runner.protocol import ChatFormat, Generate, Sampling, Tool, ToolFormat
from tests.unit.api.grammar_texts import Grammar

STYLES: tuple[ToolFormat, ...] = ("hermes", "llama3", "mistral", "generic")
N_TEXTS = 60
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["C", "F", None]},
        "days": {"$ref": "#/$defs/days"},
    },
    "required": ["city"],
    "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
}
POINTS = {
    "type": ["object", "null"],
    "properties": {"points": {"type": "array", "items": {"type": "number"}, "maxItems": 2}},
}
SCHEMAS: dict[str, Any] = {
    "weather": WEATHER,
    "weather_at": POINTS,
    "stop": {"type": "object", "properties": {}},
}
TOOLS = (*(Tool(name, "", json.dumps(schema)) for name, schema in SCHEMAS.items()), Tool("now"))
ANSWER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
VALID = {**SCHEMAS, "stop": {"type": "object"}, "now": {"type": "object", "maxProperties": 0}}


def ordered(style: ToolFormat, offer: Offer, schema: Any = None, **options: Any) -> Ordered:
    """What a runner of a model that writes so is asked for."""
    handle = SimpleNamespace(chat=ChatFormat(style, ("<think>", "</think>")))
    wanted = None if schema is None else (schema, "response_format")
    return order_of(Generate(id=0, **options), offer, wanted)(cast(RunnerHandle, handle))


def texts(order: Ordered) -> list[str]:
    """Some that its grammar allows."""
    sampling = order.generate.sampling
    assert sampling.grammar is not None
    assert sampling.grammar_lets_think
    check_grammar(sampling.grammar)
    grammar = Grammar(sampling.grammar)
    return [grammar.text(random.Random(seed)) for seed in range(N_TEXTS)]


def read(order: Ordered, text: str) -> Answer:
    """The whole answer that is read from a text."""
    reader = order.reader(cast(Generation, SimpleNamespace(opens_reasoning=False)))
    collected = Collected(0)
    for delta in [*reader.push(text), *reader.finish()]:
        collected.add(Piece(index=0, delta=delta, n_generated=1))
    collected.add(Piece(index=0, delta=Delta(), n_generated=1, finish_reason="stop"))
    return collected.answer()


def check_calls(answer: Answer) -> None:
    """Each is of a tool, with arguments that fulfil its schema."""
    for call in answer.calls:
        jsonschema.validate(json.loads(call.arguments), VALID[call.name])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("parallel", [True, False])
def test_calls_that_must_be_made_are_made(style: ToolFormat, parallel: bool) -> None:
    order = ordered(style, Offer(TOOLS, "required", parallel))
    assert order.generate.sampling.grammar_triggers == ()
    assert order.generate.tools == TOOLS
    answers = [read(order, text) for text in texts(order)]
    for answer in answers:
        assert (answer.text, answer.reasoning) == ("", "")
        check_calls(answer)
    numbers = {len(answer.calls) for answer in answers}
    assert 0 not in numbers
    assert (1 < max(numbers) <= 16) if parallel else (max(numbers) == 1)
    assert {call.name for answer in answers for call in answer.calls} == set(VALID)


@pytest.mark.parametrize("style", STYLES[:3])
def test_a_call_begins_with_a_trigger(style: ToolFormat) -> None:
    order = ordered(style, Offer(TOOLS))
    triggers = [each.removeprefix("^") for each in order.generate.sampling.grammar_triggers]
    begun = [next((each for each in triggers if text.startswith(each)), None) for text in texts(order)]
    assert begun.count(None) <= (len(begun) // 3 if style == "llama3" else 0)  # blanks at other places


def test_without_a_format_of_its_own_a_model_answers_in_json() -> None:
    order = ordered("generic", Offer(TOOLS))
    assert order.generate.sampling.grammar_triggers == ()
    answers = [(text, read(order, text)) for text in texts(order)]
    for text, answer in answers:
        check_calls(answer)
        assert answer.calls or answer.text == json.loads(text)["response"]
    assert {bool(answer.calls) for _, answer in answers} == {True, False}


@pytest.mark.parametrize("style", STYLES)
def test_an_answer_may_be_a_call_or_fulfil_a_schema(style: ToolFormat) -> None:
    order = ordered(style, Offer(TOOLS), ANSWER)
    assert order.generate.sampling.grammar_triggers == ()
    answers = [read(order, text) for text in texts(order)]
    for answer in answers:
        check_calls(answer)
        assert bool(answer.calls) is (answer.text == "")
        if answer.text:
            jsonschema.validate(json.loads(answer.text), ANSWER)
    assert {bool(answer.calls) for answer in answers} == {True, False}


@pytest.mark.parametrize("style", STYLES)
def test_no_call_leaves_the_answer_free_or_to_its_schema(style: ToolFormat) -> None:
    order = ordered(style, Offer(TOOLS, "none"))
    assert order.generate.sampling == Sampling()
    assert order.generate.tools == ()
    assert read(order, "<tool_call>").text == "<tool_call>"
    order = ordered(style, Offer(), ANSWER)
    for text in texts(order):
        assert read(order, text).text == text
        jsonschema.validate(json.loads(text), ANSWER)


def test_the_users_own_grammar_stands_alone() -> None:
    sampling = Sampling(grammar='root ::= "x"')
    assert ordered("hermes", Offer(), sampling=sampling).generate.sampling == sampling
    assert ordered("hermes", Offer(TOOLS, "none"), sampling=sampling).generate.sampling == sampling
    for offer, schema in ((Offer(TOOLS), None), (Offer(), ANSWER)):
        with pytest.raises(InvalidRequest) as caught:
            ordered("hermes", offer, schema, sampling=sampling)
        assert caught.value.param == "grammar"


FOREIGN = Tool("f", "", json.dumps({"type": "object", "properties": {"a": {"not": {}}}}))


def test_arguments_that_cannot_be_held_are_any_object_unless_that_is_asked_for() -> None:
    order = ordered("hermes", Offer((FOREIGN,), "required"))
    assert all(isinstance(json.loads(read(order, text).calls[0].arguments), dict) for text in texts(order))
    with pytest.raises(InvalidRequest) as caught:
        ordered("hermes", Offer((FOREIGN,), strict=frozenset({"f"})))
    assert "tools.f.parameters.properties.a.not" in str(caught.value)


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "objekt"}, {"properties": 3}])
def test_what_is_no_schema_of_arguments_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ordered("hermes", Offer((Tool("f", "", json.dumps(schema)),)))
    assert "tools.f.parameters" in str(caught.value)


@pytest.mark.parametrize("style", STYLES)
def test_many_tools_have_a_grammar(style: ToolFormat) -> None:
    schema = {"properties": {f"field_{n}": {"type": "string", "enum": ["on", "off"]} for n in range(9)}}
    tools = tuple(Tool(f"set_state_of_{n}", "", json.dumps(schema)) for n in range(128))
    order = ordered(style, Offer(tools, "required"))
    calls = [call for text in texts(order) for call in read(order, text).calls]
    assert len({call.name for call in calls}) > N_TEXTS // 4
    for call in calls:
        assert set(json.loads(call.arguments).values()) <= {"on", "off"}


BOMB = {"properties": {"a": {"allOf": [{"anyOf": [{"minLength": n} for n in range(10)]}] * 12}}}


def test_tools_made_to_cost_much_cost_little() -> None:
    tools = tuple(Tool(f"f{n}", "", json.dumps(BOMB)) for n in range(128))
    order = ordered("hermes", Offer(tools))
    assert len(order.generate.sampling.grammar or "") < MAX_GRAMMAR_BYTES // 2
    with pytest.raises(InvalidRequest, match="too large"):
        ordered("hermes", Offer(tools, strict=frozenset({"f9"})))
