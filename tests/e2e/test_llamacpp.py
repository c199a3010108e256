"""llama.cpp's own endpoints with a real model: a client that renders, tokenises and completes by itself."""

from typing import Any

import pytest

from tests.e2e.daemon import Daemon

QUESTION = "Name three colours."


def ask(daemon: Daemon, path: str, body: dict[str, Any]) -> Any:
    status, answer = daemon.call("POST", path, body)
    assert status == 200, answer
    return answer


def prompt_of(daemon: Daemon) -> str:
    prompt = ask(daemon, "/apply-template", {"messages": [{"role": "user", "content": QUESTION}]})["prompt"]
    assert isinstance(prompt, str)
    return prompt


def test_a_client_that_does_all_itself_gets_the_answer_of_a_chat(daemon: Daemon) -> None:
    prompt = prompt_of(daemon)
    assert QUESTION in prompt
    greedy = {"temperature": 0, "n_predict": 16, "return_tokens": True}
    by_text = ask(daemon, "/completion", {"prompt": prompt, **greedy})
    tokens = ask(daemon, "/tokenize", {"content": prompt, "add_special": True})["tokens"]
    by_tokens = ask(daemon, "/completion", {"prompt": tokens, **greedy})
    _, chat = daemon.chat(QUESTION)
    assert by_text["content"] == by_tokens["content"] == chat["choices"][0]["message"]["content"]
    assert by_text["prompt"] == by_tokens["prompt"] == prompt
    assert len(by_text["tokens"]) == by_text["tokens_predicted"]
    assert ask(daemon, "/detokenize", {"tokens": by_text["tokens"]})["content"] == by_text["content"]
    assert by_text["tokens_evaluated"] == len(tokens) == chat["usage"]["prompt_tokens"]


def test_control_tokens_are_understood_where_that_is_asked_for(daemon: Daemon) -> None:
    [end] = ask(daemon, "/tokenize", {"content": "<|im_end|>"})["tokens"]
    plain = ask(daemon, "/tokenize", {"content": "<|im_end|>", "parse_special": False})["tokens"]
    assert len(plain) > 1
    assert end not in plain
    assert ask(daemon, "/detokenize", {"tokens": plain})["content"] == "<|im_end|>"


@pytest.mark.parametrize("text", ["Hello, world!", "wörld 🚀 日本", "  two  spaces\n\ttab"])
def test_texts_survive_the_way_there_and_back(daemon: Daemon, text: str) -> None:
    found = ask(daemon, "/tokenize", {"content": text, "with_pieces": True})["tokens"]
    raw = b"".join(
        bytes(each["piece"]) if isinstance(each["piece"], list) else each["piece"].encode() for each in found
    )
    assert raw.decode() == text
    assert ask(daemon, "/detokenize", {"tokens": [each["id"] for each in found]})["content"] == text


def test_what_must_not_be_said_is_not(daemon: Daemon) -> None:
    free = {"prompt": "The sky is", "temperature": 0, "n_predict": 8, "n_probs": 3}
    said = ask(daemon, "/completion", free)
    first = said["completion_probabilities"][0]
    assert first["top_logprobs"][0]["id"] == first["id"]
    assert "".join(each["token"] for each in said["completion_probabilities"]) == said["content"]
    for biases in ([[first["id"], False]], {str(first["id"]): False}, [[first["token"], False]]):
        other = ask(daemon, "/completion", {**free, "logit_bias": biases})
        assert first["id"] not in [each["id"] for each in other["completion_probabilities"]]
    many = [[token, 1] for token in range(20_000, 21_023)]
    status, refused = daemon.call("POST", "/completion", {**free, "logit_bias": [*many, ["one two", 1]]})
    assert (status, refused["error"]["param"]) == (400, "logit_bias")


def test_properties_of_the_model(daemon: Daemon) -> None:
    props = daemon.call("GET", "/props")[1]
    assert "<|im_start|>" in props["chat_template"]
    assert props["model_path"].endswith("smollm2.gguf")
    slots = daemon.call("GET", "/slots")[1]
    assert len(slots) == props["total_slots"]
    assert slots[0]["n_ctx"] == props["default_generation_settings"]["n_ctx"]


def test_an_embedding_is_that_of_openais_endpoint(daemon: Daemon) -> None:
    [mine] = ask(daemon, "/embedding", {"content": "A man is eating food."})
    [theirs] = daemon.embed("A man is eating food.")[1]["data"]
    assert mine["embedding"] == [theirs["embedding"]]
