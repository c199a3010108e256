"""Tools offered to a real model: as it was published, and with a template that writes calls in its own way.

SmolLM2 is too small to call them wisely. What it calls is a tool, with arguments that fulfil their schema.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.e2e.daemon import Daemon, settings

QUESTION = "What is the weather in Bern?"
SCHEMAS: dict[str, Any] = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "unit"],
    },
    "add": {
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0, "maximum": 99} for name in "ab"},
        "required": ["a", "b"],
    },
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
HERMES = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if loop.first and tools %}{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Write calls as <tool_call>
{"name": "…", "arguments": {…}}
</tool_call>
{% endif %}{{ message.content }}{% for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def hermes(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """SmolLM2 with a template that writes calls as Hermes and Qwen do."""
    folder = tmp_path_factory.mktemp("hermes")
    (folder / "template").write_text(HERMES)
    change = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", str(models / "smollm2.gguf")]
    new = ["--chat-template-file", str(folder / "template")]
    subprocess.run([*change, str(folder / "smollm2.gguf"), *new], check=True, capture_output=True)
    config = folder / "edged.yaml"
    config.write_text(f"models: {{smollm2: {{file: {folder}/smollm2.gguf}}}}\n")
    with Daemon(config, *settings(f"storage.state_dir={folder}/state")) as running:
        running.wait_ready()
        yield running
        assert running.stop() == 0


def check_calls(message: Any) -> list[str]:
    """The names of the tools that a message calls."""
    names = []
    for call in message.get("tool_calls") or ():
        names.append(call["function"]["name"])
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[names[-1]])
    return names


def ask(daemon: Daemon, **options: Any) -> Any:
    """The choice of an answer to the question, with all tools."""
    status, answer = daemon.chat(QUESTION, **{"tools": TOOLS, "max_tokens": 400, "temperature": 1, **options})
    assert status == 200, answer
    return answer["choices"][0]


@pytest.mark.parametrize("which", ["daemon", "hermes"])
def test_what_must_be_called_is_called(which: str, request: pytest.FixtureRequest) -> None:
    daemon: Daemon = request.getfixturevalue(which)
    for seed in range(2):
        choice = ask(daemon, seed=seed, tool_choice="required", parallel_tool_calls=False)
        assert choice["finish_reason"] == "tool_calls", choice
        assert len(check_calls(choice["message"])) == 1
    named = {"type": "function", "function": {"name": "add"}}
    assert check_calls(ask(daemon, seed=1, tool_choice=named)["message"]) == ["add"]


def test_a_model_without_a_format_of_its_own_answers_or_calls(daemon: Daemon) -> None:
    for seed in range(4):
        choice = ask(daemon, seed=seed, parallel_tool_calls=False)
        assert bool(check_calls(choice["message"])) is (choice["finish_reason"] == "tool_calls")
        assert not (choice["message"]["content"] or "").startswith('{"response')


def test_a_call_that_the_model_begins_by_itself_is_held(hermes: Daemon) -> None:
    """It has seen itself call, and goes on so. What it says before a call is free."""
    messages: list[Any] = []
    for number, city in enumerate(("Rome", "Paris", "Oslo")):
        arguments = json.dumps({"city": city, "unit": "C"})
        call = {
            "id": f"{number}",
            "type": "function",
            "function": {"name": "weather", "arguments": arguments},
        }
        messages += [
            {"role": "user", "content": QUESTION.replace("Bern", city)},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"{number}", "content": "It is sunny."},
        ]
    body: dict[str, Any] = {"model": "smollm2"}
    body["messages"] = [*messages, {"role": "user", "content": QUESTION}]
    body |= {"tools": TOOLS, "max_tokens": 100, "temperature": 0}
    status, answer = hermes.call("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    assert check_calls(answer["choices"][0]["message"]), answer


def test_tools_that_must_not_be_called_are_not(hermes: Daemon) -> None:
    message = ask(hermes, seed=1, tool_choice="none", max_tokens=20)["message"]
    assert "tool_calls" not in message
    assert message["content"]


def test_a_stream_of_calls_is_the_whole_answer_in_pieces(daemon: Daemon) -> None:
    options: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    options |= {"temperature": 0, "seed": 1}
    whole = ask(daemon, **options)["message"]["tool_calls"]
    stream = daemon.client().chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=400,
        stream=True,
        **options,
    )
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or ():
            names[call.index] = call.function.name or names[call.index]
            arguments.setdefault(call.index, []).append(call.function.arguments or "")
    told = [(names[index], "".join(parts)) for index, parts in arguments.items()]
    assert told == [(call["function"]["name"], call["function"]["arguments"]) for call in whole]
    assert len(arguments[0]) > 3


def test_a_result_is_answered(daemon: Daemon) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    body = {
        "model": "smollm2",
        "messages": [
            {"role": "user", "content": "What is 1 + 2?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "3"},
        ],
        "tools": TOOLS,
        "max_tokens": 60,
    }
    status, answer = daemon.call("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    check_calls(answer["choices"][0]["message"])
