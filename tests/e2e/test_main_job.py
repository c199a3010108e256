"""The main job on real models: MiniLM and SmolLM2, planned, loaded and served to the client people use."""

import base64
import concurrent.futures
import math
import struct
from collections.abc import Callable

import pytest

from tests.e2e.daemon import Daemon

_FOOD = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_embeddings_rank_as_the_reference_does(daemon: Daemon) -> None:
    answer = daemon.client().embeddings.create(model="minilm", input=_FOOD, encoding_format="float")
    food, bread, baby = [item.embedding for item in answer.data]
    assert _cosine(food, food) == pytest.approx(1, abs=1e-4)
    assert _cosine(food, bread) == pytest.approx(0.7554, abs=0.01)  # sentence-transformers' own figure
    assert _cosine(food, bread) > _cosine(food, baby) + 0.3
    assert answer.usage.prompt_tokens == 28


def test_base64_is_the_same_vector(daemon: Daemon) -> None:
    floats = daemon.embed(_FOOD[0])[1]["data"][0]["embedding"]
    raw = base64.b64decode(daemon.embed(_FOOD[0], encoding_format="base64")[1]["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(floats)}f", raw)) == pytest.approx(floats, abs=1e-6)


def test_a_batch_gives_what_each_text_gives_alone(daemon: Daemon) -> None:
    texts = [*_FOOD, "x", "word " * 300, "Ünïcödé 中文 🚀"]
    together = [item["embedding"] for item in daemon.embed(texts)[1]["data"]]
    for text, vector in zip(texts, together, strict=True):
        alone = daemon.embed(text)[1]["data"][0]["embedding"]
        assert math.sqrt(_cosine(vector, vector)) == pytest.approx(1, abs=1e-5)
        assert _cosine(alone, vector) > 0.999


def test_a_streamed_chat_answer_is_the_whole_one_in_pieces(daemon: Daemon) -> None:
    messages = [{"role": "user", "content": "Name three colours."}]
    stream = daemon.client().chat.completions.create(
        model="smollm2", messages=messages, temperature=0, max_tokens=24, stream=True,
        stream_options={"include_usage": True},
    )  # type: ignore[call-overload]  # fmt: skip
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    _, whole = daemon.chat("Name three colours.", max_tokens=24)
    assert text == whole["choices"][0]["message"]["content"]
    assert len([chunk for chunk in chunks if chunk.choices]) > 10, "it came in pieces"
    assert chunks[-1].usage.completion_tokens == 24


def test_the_model_answers_sense(daemon: Daemon) -> None:
    status, answer = daemon.chat("What is the capital of Germany?", max_tokens=32)
    assert status == 200
    assert "Berlin" in answer["choices"][0]["message"]["content"]


def test_two_models_at_once_and_many_clients_each_get_their_own_answer(daemon: Daemon) -> None:
    prompts = [f"Count from {n} to {n + 3}." for n in range(6)]
    alone = [daemon.chat(prompt)[1]["choices"][0]["message"]["content"] for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        chats = [threads.submit(daemon.chat, prompt) for prompt in prompts]
        embeds = [threads.submit(daemon.embed, text) for text in _FOOD * 4]
        together = [chat.result()[1]["choices"][0]["message"]["content"] for chat in chats]
        vectors = [embed.result()[1]["data"][0]["embedding"] for embed in embeds]
    # a batch rounds differently from one sequence alone, so a near tie may fall the other way now and then
    assert sum(a == b for a, b in zip(alone, together, strict=True)) >= len(prompts) - 2
    for text, vector in zip(_FOOD * 4, vectors, strict=True):
        assert _cosine(daemon.embed(text)[1]["data"][0]["embedding"], vector) > 0.999


def test_completions_continue_a_text_and_take_tokens(daemon: Daemon) -> None:
    body = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    status, answer = daemon.call("POST", "/v1/completions", body)
    assert status == 200
    assert "Paris" in answer["choices"][0]["text"]
    status, answer = daemon.call("POST", "/v1/completions", {**body, "prompt": [504, 3575, 282]})
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 3


def test_the_plan_and_the_hardware_are_shown_with_what_was_measured(daemon: Daemon) -> None:
    _, plan = daemon.call("GET", "/edged/v1/plan")
    by_model = {entry["model"]: entry for entry in plan["plans"]}
    assert set(by_model) == {"minilm", "smollm2"}
    assert all(entry["reasons"] for entry in by_model.values())
    assert daemon.call("GET", "/edged/v1/hardware")[1]["memory"]["total_bytes"] > 0
    assert daemon.model("smollm2")["measured_ready_s"] > 0


def test_an_unloaded_model_is_loaded_again_by_the_next_request(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait_ready()
    pid = daemon.model("minilm")["pid"]
    assert daemon.call("POST", "/edged/v1/models/minilm/unload")[0] == 200
    assert daemon.model("minilm")["state"] == "unloaded"
    assert daemon.embed("hello")[0] == 200
    assert daemon.model("minilm")["pid"] != pid
    status, answer = daemon.call("POST", "/edged/v1/models/minilm/warmup")
    assert status == 200, answer
