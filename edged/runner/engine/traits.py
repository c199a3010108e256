"""What a chat template makes of conversations, found out by rendering some.

Templates have no version and no list of what they can write. A call of a tool that comes out as it should
shows more than any word in the template's text.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edged.errors import InvalidRequest
from edged.runner.engine.conversation import Traits, variables_of
from edged.runner.protocol import Message, Tool, ToolCall, ToolFormat

_SYSTEM, _USER, _RESULT = "system text", "user text", "result text"
_NAME, _VALUE = "probe_tool", "probe value"
_ASKED = Message("user", _USER)
_TOOL = Tool(
    _NAME,
    "about it",
    '{"type":"object","properties":{"probe_key":{"type":"string"}},"required":["probe_key"]}',
)
_ARGUMENTS = rf'\{{\s*"probe_key":\s*"{_VALUE}"\s*\}}'
_WRITTEN: tuple[tuple[ToolFormat, str], ...] = (
    ("hermes", rf'<tool_call>\s*\{{"name":\s*"{_NAME}",\s*"arguments":\s*{_ARGUMENTS}'),
    ("llama3", rf'\{{"name":\s*"{_NAME}",\s*"parameters":\s*{_ARGUMENTS}'),
    ("mistral", rf'\[TOOL_CALLS\]\s*\[\{{"name":\s*"{_NAME}",\s*"arguments":\s*{_ARGUMENTS}'),
    ("mistral", rf"\[TOOL_CALLS\]{_NAME}(\[CALL_ID\]\w+)?\[ARGS\]\s*{_ARGUMENTS}"),  # since version 11
)
_REASONING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
_DELETED = re.compile(r"""replace\(\s*(?:'([^'\\]+)'|"([^"\\]+)")\s*,\s*(?:''|"")""")

_FORMS = tuple(itertools.product(("object", "text"), ("text", "none")))  # of arguments, and of no content

Render = Callable[[Mapping[str, Any]], str]


def traits_of(source: str, render: Render) -> Traits:
    """Of the template of this text; `render` raises InvalidRequest for variables that it does not take."""
    traits = Traits(
        reasoning=next((tags for tags in _REASONING if tags[1] in source), None),
        deleted=tuple(sorted({single or double for single, double in _DELETED.findall(source)})),
    )
    for parts, no_tools in ((False, "none"), (False, "list"), (True, "none"), (True, "list")):
        tried = msgspec.structs.replace(traits, parts=parts, no_tools=no_tools)
        if _USER in _said(render, tried, _ASKED):
            traits = tried
            break
    system, answer = Message("system", _SYSTEM), Message("assistant", "answer")
    if _SYSTEM not in _said(render, traits, system, _ASKED):
        traits = msgspec.structs.replace(traits, system="nowhere")
    elif _SYSTEM not in _said(render, traits, _ASKED, answer, system, _ASKED):
        traits = msgspec.structs.replace(traits, system="first")
    return _with_tools(render, traits)


def _with_tools(render: Render, traits: Traits) -> Traits:
    """The first form in which calls come out as they should; none: tools are `generic`."""
    for arguments, no_content in _FORMS:
        tried = msgspec.structs.replace(
            traits, tools=_WRITTEN[0][0], arguments=arguments, no_content=no_content
        )
        offered = _said(render, tried, _ASKED, tools=(_TOOL,))
        written = _said(render, tried, _ASKED, *_called(1), tools=(_TOOL,))
        spoilt = (
            _NAME not in offered or _RESULT not in written or written.count("None") > offered.count("None")
        )
        tools = next((tools for tools, pattern in _WRITTEN if re.search(pattern, written)), None)
        if tools is not None and not spoilt:
            many = _said(render, tried, _ASKED, *_called(2), tools=(_TOOL,))
            return msgspec.structs.replace(tried, tools=tools, many_calls=many.count(_VALUE) == 2)
    return traits


def _called(n_calls: int) -> list[Message]:
    """A message that calls a tool so often, and the results."""
    ids = [f"call0000{number}" for number in range(n_calls)]
    calls = tuple(ToolCall(each, _NAME, f'{{"probe_key": "{_VALUE}"}}') for each in ids)
    return [
        Message("assistant", "", tool_calls=calls),
        *(Message("tool", _RESULT, tool_call_id=i) for i in ids),
    ]


def _said(render: Render, traits: Traits, *messages: Message, tools: Sequence[Tool] = ()) -> str:
    variables = variables_of(messages, tools, traits)
    try:
        return render({**variables, "add_generation_prompt": True, "bos_token": "", "eos_token": ""})
    except InvalidRequest:
        return ""
