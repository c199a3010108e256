"""Chat templates of real files in real runners: what they do to others, and what others cannot do to them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.gguf_files import write_tiny_gguf
from tests.unit.runner.engine.templates import HERMES

_HOSTILE = """\
{%- for message in messages %}{{ message.content }}{% endfor %}
{%- if 'loop' in messages[-1].content %}
    {%- for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}
{%- endif %}
{%- if 'memory' in messages[-1].content %}{{ 'x' * (10 ** 11 + messages | length) }}{% endif %}"""
_BROKEN = "{% for message in messages %}"
_BOUND_S = 30.0  # for what may compute two seconds, beside others


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Tiny models that differ in their templates."""
    folder = tmp_path_factory.mktemp("templates")
    config = folder / "edged.yaml"
    models: dict[str, Any] = {}
    for name, template in {"hostile": _HOSTILE, "broken": _BROKEN, "tools": HERMES, "none": None}.items():
        more = {"tokenizer.chat_template": ("str", template) if template else None}
        path = write_tiny_gguf(folder / f"{name}.gguf", n_ctx_train=2048, metadata=more)
        models[name] = {"file": str(path), "kind": "generate", "n_ctx": 2048}
    config.write_text(yaml.safe_dump({"storage": {"state_dir": str(folder / "state")}, "models": models}))
    with Daemon(config) as daemon:
        yield daemon
        assert daemon.stop() == 0


def _chat(daemon: Daemon, model: str, *messages: dict[str, Any], **more: Any) -> tuple[int, Any]:
    body = {"model": model, "messages": list(messages), "max_tokens": 2, "temperature": 0, **more}
    return daemon.call("POST", "/v1/chat/completions", body)


def _user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _text(daemon: Daemon, prompt: str) -> tuple[int, Any]:
    body = {"model": "hostile", "prompt": prompt, "max_tokens": 2, "ignore_eos": True}
    return daemon.call("POST", "/v1/completions", body)


def test_a_template_that_does_harm_is_an_error_while_others_are_answered(served: Daemon) -> None:
    assert _chat(served, "hostile", _user("hi"))[0] == 200
    pid = served.model("hostile")["pid"]
    answers: list[tuple[int, Any]] = []
    began_s = time.monotonic()
    asking = threading.Thread(target=lambda: answers.append(_chat(served, "hostile", _user("loop"))))
    asking.start()
    n_meanwhile = 0
    while asking.is_alive():
        assert _text(served, "x")[0] == 200
        n_meanwhile += bool(asking.is_alive())
    asking.join(PATIENCE_S)
    assert time.monotonic() - began_s < _BOUND_S
    assert n_meanwhile >= 2, "completions have waited for the template"
    (answer,) = answers
    for status, body in (answer, _chat(served, "hostile", _user("memory"))):
        assert status == 400
        assert "chat template does not take them" in body["error"]["message"]
        assert body["error"]["param"] == "messages"
    assert _chat(served, "hostile", _user("hi"))[0] == 200
    assert served.model("hostile")["pid"] == pid


def test_a_template_that_does_not_parse_leaves_completions(served: Daemon) -> None:
    status, body = _chat(served, "broken", _user("hi"))
    assert status == 400
    assert "does not parse" in body["error"]["message"]
    answer = served.call("POST", "/v1/completions", {"model": "broken", "prompt": "x", "max_tokens": 1})
    assert answer[0] == 200
    assert served.model("broken")["chat"] is None


def test_without_a_template_or_a_vocabulary_that_asks_for_one_there_is_no_chat(served: Daemon) -> None:
    status, body = _chat(served, "none", _user("hi"))
    assert status == 400
    assert "has no chat template; use /v1/completions" in body["error"]["message"]


def test_tools_and_results_reach_the_model_and_none_of_them_speaks_for_another(served: Daemon) -> None:
    """The vocabulary has a token for each byte and a control token `</s>`."""

    def n_prompt_tokens(description: str, result: str) -> int:
        tool = {"type": "function", "function": {"name": "add", "description": description, "parameters": {}}}
        call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
        status, body = _chat(
            served,
            "tools",
            _user("hi"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": result},
            tools=[tool],
        )
        assert status == 200, body
        return int(body["usage"]["prompt_tokens"])

    plain = n_prompt_tokens("x", "y")
    assert n_prompt_tokens("x1234", "y") == plain + 4
    assert n_prompt_tokens("x</s>", "y") == plain + 4
    assert n_prompt_tokens("x", "y</s>") == plain + 4
    assert served.model("tools")["chat"] == {"tools": "hermes", "reasoning": ["<think>", "</think>"]}
