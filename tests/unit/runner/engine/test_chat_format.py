"""Formats of tool calls and reasoning, by what templates contain."""

import pytest

from edged.runner.engine.chat_format import chat_format
from edged.runner.protocol import ChatFormat


@pytest.mark.parametrize(
    ("template", "tools"),
    [
        ("{% if tools %}<tools>{{ tools }}</tools> <tool_call>{% endif %}", "hermes"),
        ("{{ tools }}<tool_call>\n<function=example>", "generic"),
        ("{{ tools }}<tool_call>{{ name }}\n<arg_key>", "generic"),
        ("a template that names <tool_call> and never lists any", "generic"),
        ("[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS]", "mistral"),
        ("[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]", "generic"),
        ('<|start_header_id|>{{ tools }} {"name": n, "parameters": p}', "llama3"),
        ("<|start_header_id|>{{ messages }}", "generic"),
        ("", "generic"),
    ],
)
def test_tools(template: str, tools: str) -> None:
    assert chat_format(template) == ChatFormat(tools)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "reasoning"),
    [
        ("{% if '</think>' in content %}", ("<think>", "</think>")),
        ("[THINK]{{ thought }}[/THINK]", ("[THINK]", "[/THINK]")),
        ("think about it", None),
    ],
)
def test_reasoning(template: str, reasoning: tuple[str, str] | None) -> None:
    assert chat_format(template).reasoning == reasoning
