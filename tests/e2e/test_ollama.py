"""ollama's own client with real models: what it pulls is served, kept over a restart, and deleted."""

from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from tests.e2e.daemon import PATIENCE_S, Daemon

_GREEDY = {"temperature": 0, "num_predict": 24}


def client_of(daemon: Daemon) -> ollama.Client:
    """ollama's client; the caller closes it."""
    return ollama.Client(host=f"http://127.0.0.1:{daemon.port}", timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[ollama.Client]:
    with client_of(daemon) as client:
        yield client


def test_a_conversation_is_the_same_as_openais_whole_and_streamed(
    daemon: Daemon, client: ollama.Client
) -> None:
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    whole = client.chat("smollm2", asked, options=_GREEDY)
    body = {"model": "smollm2", "messages": asked, "temperature": 0, "max_tokens": 24}
    _, openais = daemon.call("POST", "/v1/chat/completions", body)
    assert whole.message.content == openais["choices"][0]["message"]["content"]
    assert whole.eval_count == openais["usage"]["completion_tokens"]
    lines = list(client.chat("smollm2:latest", asked, options=_GREEDY, stream=True))
    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert lines[-1].eval_count == whole.eval_count


def test_a_raw_prompt_may_spell_control_tokens(client: ollama.Client) -> None:
    """By the template and by hand it is the same prompt."""
    system = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    )
    prompt = f"{system}<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    raw = client.generate("smollm2", prompt, raw=True, options=_GREEDY)
    templated = client.generate("smollm2", "Hello", options=_GREEDY)
    assert raw.prompt_eval_count == templated.prompt_eval_count
    assert raw.response == templated.response


def test_models_are_described_by_their_files(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    details = listed["smollm2:latest"].details
    assert details is not None
    assert (details.family, details.parameter_size, details.quantization_level) == (
        "llama",
        "134.52M",
        "Q4_1",
    )
    shown = client.show("smollm2")
    assert shown.capabilities == ["completion", "tools"]
    assert "<|im_start|>" in (shown.template or "")
    assert (shown.modelinfo or {})["llama.context_length"] == 8192
    assert client.show("minilm").capabilities == ["embedding"]


def test_a_pulled_model_is_served_kept_and_deleted(models: Path, tmp_path: Path) -> None:
    """`edged pull` has put it in its place, so that nothing is downloaded."""
    config = tmp_path / "edged.yaml"
    config.write_text(f"storage: {{model_dir: {models}, state_dir: {tmp_path / 'state'}}}\n")
    with Daemon(config) as daemon, client_of(daemon) as client:
        assert client.list().models == []
        assert client.pull("minilm").status == "success"
        vector = client.embed("minilm", "a text").embeddings[0]
        assert daemon.stop() == 0
    with Daemon(config) as daemon, client_of(daemon) as client:
        assert [model.model for model in client.list().models] == ["minilm:latest"]
        assert client.embed("minilm", "a text").embeddings[0] == pytest.approx(vector, abs=1e-6)
        client.delete("minilm")
        assert client.list().models == []
        assert (models / "minilm.gguf").exists()
        assert daemon.stop() == 0
