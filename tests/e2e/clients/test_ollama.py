"""ollama's own client against a real daemon with real models, as its examples and Home Assistant use it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.e2e.clients.asked import (
    ANSWERED_BEFORE,
    ASKED_BEFORE,
    QUESTION,
    RESULT,
    STORY,
    WEATHER_TOOL,
    Person,
    Weather,
    get_weather,
)
from tests.e2e.daemon import PATIENCE_S, Daemon

GREEDY = {"temperature": 0, "num_predict": 16}
WITH_A_CALL: list[dict[str, Any]] = [
    {"role": "user", "content": ASKED_BEFORE},
    {
        "role": "assistant",
        "tool_calls": [
            {"function": {"name": "get_weather", "arguments": {"city": "London", "unit": "celsius"}}}
        ],
    },
    {"role": "tool", "tool_name": "get_weather", "content": RESULT.replace("Paris", "London")},
    {"role": "assistant", "content": ANSWERED_BEFORE},
    {"role": "user", "content": QUESTION},
]


@pytest.fixture(name="client")
def _client(daemon: Daemon) -> Iterator[ollama.Client]:
    with ollama.Client(host=f"http://127.0.0.1:{daemon.port}", timeout=PATIENCE_S) as client:
        yield client


def test_a_conversation_goes_on(client: ollama.Client) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "My name is Ada."},
    ]
    first = client.chat("smollm2", messages, options=GREEDY)
    assert first.message.content
    messages += [first.message, {"role": "user", "content": "What is my name?"}]
    pieces = list(client.chat("smollm2", messages, options=GREEDY, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces)
    last = pieces[-1]
    assert last.done
    assert last.total_duration is not None
    assert last.eval_duration is not None
    assert last.total_duration >= last.eval_duration > 0


def test_a_tool_is_called_and_its_result_is_heard(client: ollama.Client) -> None:
    asked = client.chat("smollm2", WITH_A_CALL, tools=[get_weather], options={"temperature": 0})
    assert asked.message.tool_calls is not None
    [call] = asked.message.tool_calls
    assert call.function.name == "get_weather"
    assert Weather.model_validate(call.function.arguments).city == "Paris"
    result = {"role": "tool", "tool_name": call.function.name, "content": get_weather("Paris", "celsius")}
    answer = client.chat(
        "smollm2", [*WITH_A_CALL, asked.message, result], tools=[get_weather], options=GREEDY
    )
    assert answer.message.content


def test_an_answer_has_the_shape_that_was_asked_for(client: ollama.Client) -> None:
    asked = [{"role": "user", "content": STORY}]
    answer = client.chat("smollm2", asked, format=Person.model_json_schema(), options={"temperature": 0})
    assert Person.model_validate_json(answer.message.content or "").name == "Ada"
    text = client.generate("smollm2", STORY, format=Person.model_json_schema(), options={"temperature": 0})
    Person.model_validate_json(text.response or "")


def test_a_prompt_is_completed_whole_and_streamed(client: ollama.Client) -> None:
    whole = client.generate("smollm2", "The capital of France is", options=GREEDY)
    pieces = client.generate("smollm2", "The capital of France is", options=GREEDY, stream=True)
    assert "".join(piece.response or "" for piece in pieces) == whole.response != ""


def test_texts_are_embedded(client: ollama.Client) -> None:
    texts = ["A man is eating food.", "A man is eating a piece of bread."]
    one, other = client.embed("minilm", texts).embeddings
    assert len(one) == 384
    assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.7
    assert client.embeddings("minilm", texts[0]).embedding == pytest.approx(one, abs=1e-6)


def test_models_are_listed_loaded_and_unloaded(client: ollama.Client) -> None:
    assert {model.model for model in client.list().models} == {"minilm:latest", "smollm2:latest"}
    assert client.generate("smollm2", keep_alive=0).done_reason == "unload"
    assert "smollm2:latest" not in {model.model for model in client.ps().models}
    assert client.generate("smollm2", keep_alive=-1).done_reason == "load"
    assert "smollm2:latest" in {model.model for model in client.ps().models}


def test_refusals_are_the_errors_that_programs_expect(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="llama9") as unknown:
        client.chat("llama9", [{"role": "user", "content": "Hello"}])
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="images"):
        client.chat("smollm2", [{"role": "user", "content": "What is this?", "images": [b"\x89PNG"]}])
    with pytest.raises(ollama.ResponseError, match="think"):
        client.chat("smollm2", [{"role": "user", "content": "Hello"}], think=True)


def test_as_home_assistant_asks(daemon: Daemon) -> None:
    """Its conversation agent: the list when it is set up, then a stream with tools and a keep-alive."""

    async def ask() -> tuple[str, list[Any]]:
        client = ollama.AsyncClient(host=f"http://127.0.0.1:{daemon.port}", timeout=PATIENCE_S)
        async with client:
            listed = await client.list()
            assert "smollm2:latest" in [model.model for model in listed.models]
            stream = await client.chat(
                model="smollm2:latest",
                messages=WITH_A_CALL,
                tools=[WEATHER_TOOL],
                stream=True,
                keep_alive="300s",
                options={"num_ctx": 2048, "temperature": 0},
                think=False,
            )
            text, calls = "", list[Any]()
            async for piece in stream:
                text += piece.message.content or ""
                calls += piece.message.tool_calls or []
            return text, calls

    text, calls = asyncio.run(ask())
    assert text or calls
