"""What is found out about templates in the style of each family, and that conversations come out whole."""

from typing import Any

import msgspec
import pytest

from edged.runner.engine.conversation import Traits
from edged.runner.engine.prompt import ChatTemplate, Conversation
from edged.runner.engine.template import Template
from edged.runner.engine.traits import traits_of
from edged.runner.protocol import Message, Tool, ToolCall
from tests.unit.runner.engine import templates
from tests.unit.runner.engine.vocabularies import ByteVocabulary

_THINK = ("<think>", "</think>")
_HERMES = Traits(tools="hermes", reasoning=_THINK, system="first")
_ALL = {
    name: source for name, source in vars(templates).items() if name.isupper() and isinstance(source, str)
}
_TOOLS = (Tool("add", "Adds numbers", '{"type": "object", "properties": {"a": {"type": "integer"}}}'),)
_CALLED = (
    Message("system", "be exact"),
    Message("user", "what is 1 + 2?"),
    Message(
        "assistant", "", tool_calls=(ToolCall("one", "add", '{"a": 1}'), ToolCall("two", "add", '{"a": 2}'))
    ),
    Message("tool", "first result", tool_call_id="one"),
    Message("tool", "second result", tool_call_id="two"),
)


def _traits(source: str) -> Traits:
    return traits_of(source, Template(source).render)


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("CHATML", Traits()),
        ("HERMES", _HERMES),
        ("LLAMA3", Traits(tools="llama3", many_calls=False)),
        ("MISTRAL", Traits(tools="mistral", system="first")),
        ("GEMMA", Traits(system="nowhere")),
        ("DEEPSEEK", Traits(reasoning=_THINK, system="nowhere")),
        ("PARTS", Traits(parts=True)),
        ("SWITCHED", Traits(reasoning=_THINK, deleted=("/no_think", "/think"))),
    ],
)
def test_families(name: str, traits: Traits) -> None:
    assert _traits(_ALL[name]) == traits


@pytest.mark.parametrize("source", _ALL.values(), ids=_ALL.keys())
def test_every_family_is_told_all_that_was_said(source: str) -> None:
    template = ChatTemplate(Template(source).render, _traits(source), ByteVocabulary())
    for conversation in (Conversation(_CALLED, _TOOLS), Conversation([*_CALLED, Message("assistant", "3")])):
        text = template.text(conversation)
        said = ["be exact", "what is 1 + 2?", '{"a": 1}', '{"a": 2}', "first result", "second result"]
        said += ["Adds numbers"] if conversation.tools else []
        assert [each for each in said if each not in text] == []


@pytest.mark.parametrize(
    ("change", "different"),
    [
        # XML inside of the tags, as Qwen 3 Coder writes it
        (('{"name": "\' + call', "<function=' + call"), {"tools": "generic"}),
        # calls are not written at all, or not what came of them
        (("message.tool_calls or []", "[]"), {"tools": "generic"}),
        (("+ message.content + '\\n</tool_response>", "+ '\\n</tool_response>"), {"tools": "generic"}),
        # arguments have to be text, or a message without content has none
        (
            ("call.function.arguments | tojson", "'' + call.function.arguments"),
            {"arguments": "text"},
        ),
        (
            (
                "{%- set content = message.content %}",
                "{%- set content = message.content or '' %}"
                "{%- if message.content is not none and message.tool_calls %}"
                "{{ raise_exception('') }}{% endif %}",
            ),
            {"no_content": "none"},
        ),
        # newer Mistrals call by name
        (
            (
                '{{- \'\\n<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}',
                "{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' }}",
            ),
            {"tools": "mistral"},
        ),
        # none are an empty list
        (
            ("{%- if tools %}", "{%- if tools | length > 0 %}"),
            {"no_tools": "list"},
        ),
    ],
)
def test_relatives_of_a_family(change: tuple[str, str], different: dict[str, Any]) -> None:
    changed = templates.HERMES.replace(*change)
    assert changed != templates.HERMES
    assert _traits(changed) == msgspec.structs.replace(_HERMES, **different)


@pytest.mark.parametrize(
    ("source", "reasoning"),
    [
        ("[THINK]{{ messages }}[/THINK]", ("[THINK]", "[/THINK]")),
        ("<|START_THINKING|><|END_THINKING|>", ("<|START_THINKING|>", "<|END_THINKING|>")),
        ("<think>", None),
    ],
)
def test_reasoning_by_the_tag_that_ends_it(source: str, reasoning: tuple[str, str] | None) -> None:
    assert _traits(source).reasoning == reasoning


def test_a_template_that_takes_nothing_has_no_traits() -> None:
    assert _traits("{{ raise_exception('no') }}") == Traits(system="nowhere")
