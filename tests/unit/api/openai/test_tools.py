"""Tools and the choice among them, in both of OpenAI's shapes."""

from typing import Any

import pytest

from edged.api.body import convert
from edged.api.generation.order import Offer
from edged.api.openai import tools
from edged.api.openai.chat_request import ChatRequest
from edged.api.openai.responses import tools as flat
from edged.api.openai.responses.request import ResponsesRequest
from edged.errors import InvalidRequest
from edged.runner import protocol

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
STRICT = frozenset({"weather"})
WEATHER = protocol.Tool(
    "weather", "of a city", '{"type": "object", "properties": {"city": {"type": "string"}}}'
)
NOW = protocol.Tool("now")
STRICT = frozenset({"weather"})


def offered(choice: Any = None, names: tuple[str, ...] = ("weather", "now"), parallel: bool = True) -> Offer:
    """What a chat offers; a request in the other shape must offer the same."""
    functions: dict[str, dict[str, Any]] = {
        "weather": {"name": "weather", "description": "of a city", "parameters": SCHEMA, "strict": True},
        "now": {"name": "now"},
    }
    body = {
        "tools": [{"type": "function", "function": functions[name]} for name in names],
        "tool_choice": choice,
    }
    chat = convert({"messages": [], **body}, ChatRequest)
    answer = tools.offer(chat.tools, chat.tool_choice, parallel=parallel)
    if isinstance(choice, dict):
        inner = choice.get("function") or choice["allowed_tools"]
        listed = [{"type": "function", **each["function"]} for each in inner.get("tools", [])]
        choice = {"type": choice["type"], **inner, **({"tools": listed} if listed else {})}
    body = {"tools": [{"type": "function", **functions[name]} for name in names], "tool_choice": choice}
    wanted = convert({"input": "a", **body}, ResponsesRequest)
    assert flat.offer(wanted.tools, wanted.tool_choice, parallel=parallel) == answer
    return answer


def test_functions_become_tools() -> None:
    assert offered() == Offer((WEATHER, NOW), strict=STRICT)
    assert offered(parallel=False) == Offer((WEATHER, NOW), parallel=False, strict=STRICT)


@pytest.mark.parametrize("choice", ["none", "auto", "required"])
def test_the_choice_in_a_word(choice: Any) -> None:
    assert offered(choice) == Offer((WEATHER, NOW), choice, strict=STRICT)


def test_a_named_function_is_the_only_one_and_must_be_called_once() -> None:
    choice = {"type": "function", "function": {"name": "now"}}
    assert offered(choice) == Offer((NOW,), "required", parallel=False, strict=STRICT)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_of_some_tools_only_the_model_is_told_of_no_others(mode: Any) -> None:
    named = [{"type": "function", "function": {"name": "weather"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    assert offered(choice) == Offer((WEATHER,), mode, strict=STRICT)


@pytest.mark.parametrize(
    ("choice", "names", "param"),
    [
        ("required", (), "tool_choice"),
        ({"type": "function", "function": {"name": "x"}}, ("now",), "tool_choice"),
        (None, ("now", "now"), "tools[1]"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choice: Any, names: tuple[str, ...], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        offered(choice, names)
    assert str(raised.value.param).startswith(param)


@pytest.mark.parametrize("n_tools", [128, 129])
def test_how_many_tools_there_may_be(n_tools: int) -> None:
    many = [tools.Tool(type="function", function=tools.Function(name=f"f{n}")) for n in range(n_tools)]
    if n_tools == 128:
        assert len(tools.offer(many, None, parallel=True).tools) == 128
    else:
        with pytest.raises(InvalidRequest, match="at most 128"):
            tools.offer(many, None, parallel=True)


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function"}, "tool_choice.function"),
        ({"type": "allowed_tools"}, "tool_choice.allowed_tools"),
        ({"type": "custom", "custom": {"name": "x"}}, "tool_choice"),
    ],
)
def test_a_choice_must_be_whole(choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        tools.offer(None, convert(choice, tools.ChosenTool), parallel=True)
    assert raised.value.param == param
