"""Readers of answers: what each format says, and that no cut between pieces changes it."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edged.api.generation.events import CallDelta, Delta, Reader
from edged.api.reading import reader
from edged.api.reading.source import joined
from edged.runner.protocol import ToolFormat

NAMES = frozenset({"weather", "add"})
THINK = ("<think>", "</think>")
FORMATS: tuple[ToolFormat, ...] = ("hermes", "llama3", "mistral", "generic")
WEATHER = '{"city": "Bern {\\"x\\"}", "days": [1, {"a": 2}]}'


def read(made: Reader, *pieces: str) -> list[Delta]:
    """All that a reader gives for some pieces, joined as if it had come at once; ids are left out."""
    deltas: list[Delta] = []
    for delta in [delta for piece in pieces for delta in made.push(piece)] + [*made.finish()]:
        assert delta
        both = joined(deltas[-1], delta) if deltas else None
        deltas[-1:] = [both] if both is not None else [*deltas[-1:], delta]
    return [
        replace(delta, calls=tuple(replace(call, id=call.id and "an id") for call in delta.calls))
        for delta in deltas
    ]


def shown(deltas: list[Delta]) -> list[Any]:
    """Text as it is, reasoning and calls in tuples."""
    made: list[Any] = []
    for delta in deltas:
        made += [delta.text] if delta.text else []
        made += [("reasoning", delta.reasoning)] if delta.reasoning else []
        made += [(call.name, call.arguments) for call in delta.calls]
    return made


def by(calls: ToolFormat | None, text: str, **options: Any) -> list[Any]:
    """What is read from a whole answer."""
    return shown(read(reader(calls=calls, tool_names=NAMES, **options), text))


def test_plain_text_is_handed_on_as_it_comes() -> None:
    made = reader()
    for piece in (" a\n", "<tool_call>", " "):
        assert [*made.push(piece)] == [Delta(text=piece)]
    assert [*made.finish()] == []


CALL = f'{{"name": "weather", "arguments": {WEATHER}}}'
ADD = '{"name":"add","arguments":{}}'


FOREIGN = CALL.replace("weather", "x")
NO_CALLS = [
    "<tool_call>[1]</tool_call>",
    f"<tool_call>{FOREIGN}",
    '<tool_call>{"name": "add"}</tool_call>',
    '<tool_call>{"name": "add", "id": 1, "arguments": 7}',
    '<tool_call>{"name": "ad',
    '<tool_call>{"name": "\\q", "arguments": {}}',
    "a < b <tool",
]


@pytest.mark.parametrize("text", NO_CALLS)
def test_what_is_no_call_is_text(text: str) -> None:
    assert by("hermes", text) == [text]


@pytest.mark.parametrize(
    ("calls", "text", "expected"),
    [
        ("hermes", f"<tool_call>\n{CALL}\n</tool_call>", [("weather", WEATHER)]),
        (
            "hermes",
            f"Let me see. \n<tool_call>{CALL}</tool_call>\n<tool_call>\n{ADD}\n</tool_call>\n",
            ["Let me see.", ("weather", WEATHER), ("add", "{}")],
        ),
        ("hermes", f"<tool_call>{CALL}</tool_call> Done. ", [("weather", WEATHER), "Done. "]),
        ("hermes", f"<tool_call>{CALL}", [("weather", WEATHER)]),
        ("hermes", f"<tool_call>{CALL[:-1]}</tool_call>!", [("weather", WEATHER), "!"]),
        ("hermes", f"<tool_call>{CALL[:-9]}", [("weather", WEATHER[:-8])]),
        ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', [("add", '{"a": 1}')]),
        ("hermes", '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}', [("add", '{"a": 1}')]),
        (
            "hermes",
            '<tool_call>{"type":"function","function":{"name":"add","arguments":{}}}',
            [("add", "{}")],
        ),
        ("hermes", '<tool_call>{"function":"add","arguments":{}}', [("add", "{}")]),
        ("llama3", f" {CALL.replace('arguments', 'parameters')}", [("weather", WEATHER)]),
        ("llama3", f"<|python_tag|>{CALL}; {ADD}", [("weather", WEATHER), ("add", "{}")]),
        ("llama3", f"Hm. <|python_tag|>{ADD}", ["Hm.", ("add", "{}")]),
        ("llama3", "<|python_tag|>print(1)", ["<|python_tag|>print(1)"]),
        ("llama3", '{"type": "function", "name": "add", "parameters": {}}', [("add", "{}")]),
        ("llama3", '{"answer": 42}', ['{"answer": 42}']),
        ("llama3", "{", ["{"]),
        ("llama3", "Hello {", ["Hello {"]),
        ("mistral", f"[TOOL_CALLS][{CALL}, {ADD}]", [("weather", WEATHER), ("add", "{}")]),
        ("mistral", f'[TOOL_CALLS] [{CALL[:-1]}, "id": "x"}}]', [("weather", WEATHER)]),
        ("mistral", "Well: [TOOL_CALLS]add[ARGS]{} ", ["Well:", ("add", "{}")]),
        (
            "mistral",
            f"[TOOL_CALLS]weather[CALL_ID]123456789[ARGS]{WEATHER}[TOOL_CALLS]add[ARGS] {{}}",
            [("weather", WEATHER), ("add", "{}")],
        ),
        ("mistral", "[TOOL_CALLS]sub[ARGS]{}", ["[TOOL_CALLS]sub[ARGS]{}"]),
        ("mistral", "[TOOL_CALLS][1]", ["[TOOL_CALLS][1]"]),
        ("mistral", "[TOOL_CALLS]" + "x" * 300, ["[TOOL_CALLS]" + "x" * 300]),
        ("generic", r'{"response": "Hi \"you\"\n\u00e9\ud83d\ude80 \ud83d!"}', ['Hi "you"\né🚀 \ufffd!']),
        ("generic", '{"response": {"a": [1, "}"]}}\n', ['{"a": [1, "}"]}']),
        ("generic", '{"response": -1.5}', ["-1.5"]),
        ("generic", '{"response": "cut \\', ["cut \\"]),
        ("generic", '{"response": "odd \\q', ["odd \\q"]),
        ("generic", f'{{"tool_calls": [{CALL},{ADD}]}}', [("weather", WEATHER), ("add", "{}")]),
        ("generic", '{"tool_calls": [3]}', ['{"tool_calls": [3]}']),
        ("generic", '{"tool_calls": 3}', ['{"tool_calls": 3}']),
        ("generic", "Hello.", ["Hello."]),
        ("generic", '{"other": "Hello."}', ['{"other": "Hello."}']),
        ("generic", '{"resp', ['{"resp']),
    ],
)
def test_what_each_format_says(calls: ToolFormat, text: str, expected: list[Any]) -> None:
    assert by(calls, text) == expected
    assert shown(read(reader(calls=calls, tool_names=NAMES), *text)) == expected


def test_arguments_are_told_as_they_come() -> None:
    made = reader(calls="hermes", tool_names=NAMES)
    assert made.push("<tool_call>\n") == []
    [begun] = made.push('{"name": "add", "arguments": {"a"')
    [call] = begun.calls
    assert (call.number, call.name, call.arguments) == (0, "add", '{"a"')
    assert re.fullmatch("call_[a-zA-Z0-9]{24}", call.id or "")
    assert made.push(": 1}") == [Delta(calls=(CallDelta(number=0, arguments=": 1}"),))]
    assert made.push("}\n</tool_call>") == []
    assert made.finish() == []


def test_mistral_has_ids_of_its_own() -> None:
    [delta] = reader(calls="mistral", tool_names=NAMES).push(f"[TOOL_CALLS][{ADD}")
    assert re.fullmatch("[a-zA-Z0-9]{9}", delta.calls[0].id or "")


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("<think>\nHm.\n\nSo.\n</think>\n\nYes. ", False, [("reasoning", "Hm.\n\nSo."), "Yes. "]),
        ("Hm.</think>Yes.", True, [("reasoning", "Hm."), "Yes."]),
        ("<think>Hm.</think>Yes.", True, [("reasoning", "Hm."), "Yes."]),
        ("\n<think></think>\nYes.", False, ["Yes."]),
        ("Never ends </thin", True, [("reasoning", "Never ends </thin")]),
        ("<thinking>?", False, ["<thinking>?"]),
        (" Yes <think>a</think>", False, [" Yes <think>a</think>"]),
        ("", True, []),
        (f"a</think><tool_call>{ADD}</tool_call>", True, [("reasoning", "a"), ("add", "{}")]),
        ("<tool_call>a</think>b", True, [("reasoning", "<tool_call>a"), "b"]),
    ],
)
def test_reasoning_is_kept_apart(text: str, opened: bool, expected: list[Any]) -> None:
    assert by("hermes", text, reasoning=THINK, opens_reasoning=opened) == expected


_MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]")
_JSON = (
    CALL,
    ADD,
    '{"name": "add", "parameters": ',
    '{"response": ',
    '{"tool_calls": [',
    '"arguments": {',
    '"a"',
)
_FRAGMENTS = st.sampled_from(
    [
        *_MARKS,
        *_JSON,
        *'{}[]",;: <7\\\n\x0b\xa0',
        "weather",
        "\\u00e9",
        "\\ud83d",
        '"type": "function"',
        "[CALL_ID]",
    ]
)
_ANSWERS = st.one_of(
    st.lists(_FRAGMENTS, max_size=12).map("".join), st.text('<think>/ul_ca"{}[]:,\\ \n', max_size=30)
)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(FORMATS), _ANSWERS, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_cuts_change_nothing(calls: ToolFormat, text: str, thinks: bool, opened: bool, rng: Any) -> None:
    def made() -> Reader:
        return reader(
            calls=calls, tool_names=NAMES, reasoning=THINK if thinks else None, opens_reasoning=opened
        )

    pieces, rest = [], text
    while rest:
        length = rng.choice((1, 1, 2, 5, 20))
        pieces.append(rest[:length])
        rest = rest[length:]
    assert read(made(), *pieces) == read(made(), text)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(FORMATS[:3]), _ANSWERS)
def test_without_calls_nothing_but_blanks_is_lost(calls: ToolFormat, text: str) -> None:
    [*deltas] = read(reader(calls=calls), text)
    assert all(not delta.calls for delta in deltas)
    said = "".join(delta.text for delta in deltas)
    assert re.sub("[ \t\r\n]", "", said) == re.sub("[ \t\r\n]", "", text)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_a_held_response_says_what_was_meant(text: str) -> None:
    made = by("generic", json.dumps({"response": text}))
    assert "".join(made) == text


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(FORMATS), _ANSWERS, st.integers(1, 5), st.integers(30, 60))
def test_cuts_change_nothing_where_searches_have_an_end(
    calls: ToolFormat, text: str, length: int, edge: int
) -> None:
    pieces = [text[at : at + length] for at in range(0, len(text), length)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edged.api.reading.calls._MOST_IN_VAIN", 20)
        patch.setattr("edged.api.reading.calls.LONGEST_EDGE", edge)
        patch.setattr("edged.api.reading.json_text.LONGEST_EDGE", edge)
        whole = read(reader(calls=calls, tool_names=NAMES), text)
        assert read(reader(calls=calls, tool_names=NAMES), *pieces) == whole


@pytest.mark.parametrize(
    ("calls", "unit"),
    [
        ("hermes", '<tool_call>{"name":'),
        ("hermes", '<tool_call>{"name":"add","x":{'),
        ("hermes", '<tool_call>{"name":{}}'),
        ("hermes", '<tool_call>{"name":"add","arguments":{},'),
        ("llama3", '<|python_tag|>{"name":'),
        ("mistral", '[TOOL_CALLS][{"name":'),
        ("llama3", '{"name": "add'),
    ],
)
def test_a_model_that_only_ever_begins_calls_does_not_keep_its_reader_busy(
    calls: ToolFormat, unit: str
) -> None:
    text = unit * (200_000 // len(unit))
    made = reader(calls=calls, tool_names=NAMES)
    began_s = time.process_time()
    read(made, *(text[at : at + 40] for at in range(0, len(text), 40)))
    assert time.process_time() - began_s < 10, "it takes a minute if each is searched to the end of the text"


def test_the_end_of_a_call_is_looked_for_nearby_only() -> None:
    short, rest = (f', "note": "{"x" * length}"}}' for length in (100, 2000))
    assert by("hermes", f"<tool_call>{ADD[:-1]}{short}</tool_call>") == [("add", "{}")]
    assert by("hermes", f"<tool_call>{ADD[:-1]}{rest}</tool_call>") == [("add", "{}"), f"{rest}</tool_call>"]
