"""OpenAI's own client against a real daemon with real models: what people write with it works as it is."""

import asyncio
import base64
import struct
from typing import Any, cast

import openai
import pytest
from openai.lib.streaming.chat import ChunkEvent, FunctionToolCallArgumentsDoneEvent

from tests.e2e.clients.asked import (
    ANSWERED_BEFORE,
    ASKED_BEFORE,
    QUESTION,
    RESULT,
    STORY,
    WEATHER_SCHEMA,
    WEATHER_TOOL,
    Person,
    Weather,
)
from tests.e2e.daemon import PATIENCE_S, Daemon

MODEL = "smollm2"


@pytest.fixture(name="client")
def _client(daemon: Daemon) -> openai.OpenAI:
    return daemon.client()


def test_a_conversation_goes_on(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "You are a helpful assistant."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "My name is Ada. What is the capital of France?"}],
        },
    ]
    first = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=24)
    said = first.choices[0].message
    assert said.role == "assistant"
    assert said.content
    messages += [said, {"role": "user", "content": "What is my name?"}]
    second = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_completion_tokens=8, seed=1, user="somebody"
    )
    assert second.choices[0].message.content
    assert second.usage is not None
    assert second.usage.total_tokens == second.usage.prompt_tokens + second.usage.completion_tokens
    assert second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens  # the first turn was not computed again


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Name three colours."}],
        "temperature": 0,
        "max_tokens": 24,
    }
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    *_, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        whole.choices[0].message.content
    )
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == (
        whole.choices[0].finish_reason
    )


def test_several_answers_and_their_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hello"}],
        n=3,
        max_tokens=4,
        seed=5,
        logprobs=True,
        top_logprobs=2,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert "".join(each.token for each in choice.logprobs.content) == choice.message.content
        assert all(len(each.top_logprobs) == 2 for each in choice.logprobs.content)


def test_a_tool_is_called_and_its_result_is_heard(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tools = cast("Any", [WEATHER_TOOL])
    asked = client.chat.completions.create(
        model=MODEL, messages=messages, tools=tools, tool_choice="required", temperature=0
    ).choices[0]
    assert asked.finish_reason == "tool_calls"
    assert asked.message.tool_calls is not None
    [call] = asked.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert Weather.model_validate_json(call.function.arguments).city
    messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=tools, tool_choice="none", temperature=0, max_tokens=32
    ).choices[0]
    assert answer.message.content
    assert not answer.message.tool_calls


def test_a_tool_is_called_where_the_model_chooses_to(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "user", "content": ASKED_BEFORE},
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "London", "unit": "celsius"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": RESULT.replace("Paris", "London")},
        {"role": "assistant", "content": ANSWERED_BEFORE},
        {"role": "user", "content": QUESTION},
    ]
    asked: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": [WEATHER_TOOL], "temperature": 0}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert Weather.model_validate_json(call.function.arguments).city == "Paris"
    assert (
        client.chat.completions.create(**asked, tool_choice="none", max_tokens=8).choices[0].message.content
    )


def test_a_tools_call_is_streamed_as_it_is_written(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather, name="get_weather")
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    [done] = [event for event in events if isinstance(event, FunctionToolCallArgumentsDoneEvent)]
    assert isinstance(done.parsed_arguments, Weather)
    pieces = [
        call.function.arguments
        for event in events
        if isinstance(event, ChunkEvent) and event.chunk.choices
        for call in event.chunk.choices[0].delta.tool_calls or ()
        if call.function is not None and call.function.arguments
    ]
    assert len(pieces) > 1
    assert "".join(pieces) == done.arguments
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == done.parsed_arguments


def test_an_answer_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": STORY}],
        response_format=Person,
        temperature=0,
    )
    assert parsed.choices[0].message.parsed is not None
    assert parsed.choices[0].message.parsed.name == "Ada"
    plain = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": STORY}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": Person.model_json_schema(), "strict": True},
        },
        temperature=1,
        seed=3,
    )
    Person.model_validate_json(plain.choices[0].message.content or "")


def test_embeddings_as_floats_and_as_base64(client: openai.OpenAI) -> None:
    texts = ["A man is eating food.", "A man is eating a piece of bread."]
    coded = client.embeddings.create(model="minilm", input=texts)  # asks for base64 and decodes it
    floats = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    raw = client.embeddings.create(model="minilm", input=texts[0], encoding_format="base64").data[0].embedding
    first, second = (each.embedding for each in coded.data)
    assert first == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert struct.unpack("<384f", base64.b64decode(cast("str", raw))) == pytest.approx(first, abs=1e-6)
    assert sum(one * other for one, other in zip(first, second, strict=True)) > 0.7
    assert coded.usage.total_tokens == coded.usage.prompt_tokens > 0


def test_a_response_and_what_follows_it(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model=MODEL,
        instructions="Answer in one sentence.",
        input="What is the capital of France?",
        temperature=0,
        max_output_tokens=16,
    )
    assert response.output_text
    items: list[Any] = [
        {"role": "user", "content": "Hello"},
        *response.output,
        {"role": "user", "content": "Why?"},
    ]
    again = client.responses.create(model=MODEL, input=items, temperature=0, max_output_tokens=8)
    assert again.output_text
    assert again.usage is not None
    assert again.usage.output_tokens <= 8


def test_a_response_calls_a_tool_and_hears_its_result(client: openai.OpenAI) -> None:
    tools: list[Any] = [
        {"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": False}
    ]
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    asked = client.responses.create(
        model=MODEL, input=items, tools=tools, tool_choice="required", temperature=0
    )
    [call] = [item for item in asked.output if item.type == "function_call"]
    Weather.model_validate_json(call.arguments)
    items += [*asked.output, {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
    answer = client.responses.create(
        model=MODEL, input=items, tools=tools, tool_choice="none", temperature=0, max_output_tokens=24
    )
    assert answer.output_text


def test_a_response_is_parsed_and_streamed(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=MODEL, input=STORY, text_format=Person, temperature=0).output_parsed
    assert parsed is not None
    assert parsed.name == "Ada"
    with client.responses.stream(model=MODEL, input=STORY, text_format=Person, temperature=0) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_parsed == parsed
    assert types[:2] == ["response.created", "response.in_progress"]
    assert types[-1] == "response.completed"
    assert types.count("response.output_text.delta") > 1


def test_a_plain_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=1
    )
    assert answer.choices[0].text.startswith(" Paris")
    assert answer.choices[0].logprobs is not None
    assert "".join(answer.choices[0].logprobs.tokens or ()) == answer.choices[0].text


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"minilm", "smollm2"}
    assert client.models.retrieve("minilm").object == "model"


def test_refusals_are_the_errors_that_programs_expect(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-5", messages=messages)
    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.chat.completions.create(model=MODEL, messages=messages, modalities=["text", "audio"])
    assert (unsupported.value.code, unsupported.value.param) == ("unsupported_parameter", "modalities")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=messages, temperature=-1)
    assert wrong.value.param == "temperature"


def test_an_asynchronous_client_asks_several_things_at_once(daemon: Daemon) -> None:
    async def ask() -> tuple[str, int, str | None]:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{daemon.port}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
        ) as client:

            async def streamed() -> str:
                stream = await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=12, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            async def embedded() -> int:
                return len((await client.embeddings.create(model="minilm", input="a")).data[0].embedding)

            async def parsed() -> str | None:
                answer = await client.chat.completions.parse(
                    model=MODEL,
                    messages=[{"role": "user", "content": STORY}],
                    response_format=Person,
                    temperature=0,
                )
                person = answer.choices[0].message.parsed
                return person.name if person else None

            return await asyncio.gather(streamed(), embedded(), parsed())

    text, n_embd, name = asyncio.run(ask())
    assert text
    assert (n_embd, name) == (384, "Ada")
