"""`llm`, as a command and as a library, against a real daemon with real models."""

import os
import subprocess
import sys
from pathlib import Path

import llm
import pytest
from llm.default_plugins.openai_models import OpenAIEmbeddingModel

from tests.e2e.clients.asked import QUESTION, STORY, Person, get_weather
from tests.e2e.daemon import PATIENCE_S, Daemon

EXTRA_MODELS = """\
- model_id: box
  model_name: smollm2
  api_base: http://127.0.0.1:{port}/v1
  supports_tools: true
  supports_schema: true
- model_id: box-responses
  model_name: smollm2
  api_base: http://127.0.0.1:{port}/v1
  responses: true
  supports_schema: true
- model_id: box-completion
  model_name: smollm2
  api_base: http://127.0.0.1:{port}/v1
  completion: true
"""


@pytest.fixture(autouse=True)
def _set_up(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder, with the file that makes a box's models known."""
    (tmp_path / "extra-openai-models.yaml").write_text(EXTRA_MODELS.format(port=daemon.port))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))


def run(*arguments: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "llm", *arguments]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_conversation_goes_on_from_the_command_line() -> None:
    options = ("-o", "temperature", "0", "-o", "max_tokens", "12")
    assert run("-m", "box", *options, "-s", "You are a helpful assistant.", "My name is Ada.").strip()
    assert run("-c", *options, "What is my name?").strip()


@pytest.mark.parametrize("model", ["box", "box-responses", "box-completion"])
@pytest.mark.parametrize("stream", [True, False])
def test_by_every_way_of_asking(model: str, stream: bool) -> None:
    answer = llm.get_model(model).prompt(
        "The capital of France is", temperature=0, max_tokens=12, stream=stream
    )
    assert answer.text().strip()


@pytest.mark.parametrize("model", ["box", "box-responses"])
def test_an_answer_has_the_shape_that_was_asked_for(model: str) -> None:
    text = llm.get_model(model).prompt(STORY, schema=Person, temperature=0).text()
    assert Person.model_validate_json(text).name == "Ada"


def test_a_tool_is_called_and_its_result_is_heard(daemon: Daemon) -> None:
    _, told = daemon.call("POST", "/tokenize", {"model": "smollm2", "content": "response"})
    conversation = llm.get_model("box").conversation()
    # A model of this size seldom chooses a tool by itself: it is kept from beginning another answer.
    unlikely = {str(token): -100 for token in told["tokens"]}
    asked = conversation.prompt(
        QUESTION, tools=[llm.Tool.function(get_weather)], temperature=0, logit_bias=unlikely, max_tokens=200
    )
    assert {call.name for call in asked.tool_calls()} == {"get_weather"}
    results = asked.execute_tool_calls()
    assert results[0].output
    answer = conversation.prompt(tool_results=results, temperature=0, max_tokens=24)
    assert answer.text().strip()
    assert not answer.tool_calls()


def test_texts_are_embedded(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{daemon.port}/v1")
    model = OpenAIEmbeddingModel("box-embeddings", "minilm")
    model.key = "none"
    one, other = model.embed_multi(["A man is eating food.", "A man is eating a piece of bread."])
    assert len(one) == 384
    assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.7
