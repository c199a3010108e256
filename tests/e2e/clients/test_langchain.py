"""langchain-openai against a real daemon with real models."""

import asyncio
import functools
import operator
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from tests.e2e.clients.asked import QUESTION, STORY, Person, Weather, get_weather
from tests.e2e.daemon import PATIENCE_S, Daemon


@pytest.fixture(name="common")
def _common(daemon: Daemon) -> Iterator[dict[str, Any]]:
    """What every model of theirs is made with; without clients of ours, they would never close theirs."""
    with openai.DefaultHttpxClient() as web:
        yield {
            "base_url": f"http://127.0.0.1:{daemon.port}/v1",
            "api_key": SecretStr("none"),
            "max_retries": 0,
            "timeout": PATIENCE_S,
            "http_client": web,
        }


@pytest.fixture(name="chat")
def _chat(common: dict[str, Any]) -> ChatOpenAI:
    return ChatOpenAI(model="smollm2", temperature=0, **common)


def test_a_conversation_goes_on(chat: ChatOpenAI) -> None:
    short = chat.bind(max_tokens=12)
    messages = [SystemMessage("You are a helpful assistant."), HumanMessage("My name is Ada.")]
    first = short.invoke(messages)
    assert first.content
    second = short.invoke([*messages, first, HumanMessage("What is my name?")])
    assert second.content
    assert isinstance(second, AIMessage)
    assert second.usage_metadata is not None
    assert second.usage_metadata["output_tokens"] <= 12


def test_a_stream_says_the_same(chat: ChatOpenAI, common: dict[str, Any]) -> None:
    short = chat.bind(max_tokens=12)
    whole = short.invoke("Hello").content
    assert "".join(str(chunk.content) for chunk in short.stream("Hello")) == whole

    async def streamed() -> str:
        async with openai.DefaultAsyncHttpxClient() as web:
            model = ChatOpenAI(model="smollm2", temperature=0, http_async_client=web, **common)
            return "".join([str(chunk.content) async for chunk in model.astream("Hello", max_tokens=12)])

    assert asyncio.run(streamed()) == whole


def test_a_tool_is_called_and_its_result_is_heard(chat: ChatOpenAI) -> None:
    weather = tool(get_weather)
    bound = chat.bind_tools([weather], tool_choice="get_weather")
    asked = bound.invoke(QUESTION)
    assert isinstance(asked, AIMessage)
    [call] = asked.tool_calls
    assert set(call["args"]) == {"city", "unit"}
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = chat.bind(max_tokens=24).invoke([HumanMessage(QUESTION), asked, result])
    assert answer.content


def test_a_tools_call_is_streamed(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([Weather], tool_choice="required")
    chunks = [chunk for chunk in bound.stream(QUESTION) if isinstance(chunk, AIMessageChunk)]
    assert len([chunk for chunk in chunks if chunk.tool_call_chunks]) > 1
    whole = functools.reduce(operator.add, chunks)
    [call] = whole.tool_calls
    Weather.model_validate(call["args"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_has_the_shape_that_was_asked_for(chat: ChatOpenAI, method: str) -> None:
    person = chat.with_structured_output(Person, method=method).invoke(STORY)  # type: ignore[arg-type]
    assert isinstance(person, Person)
    assert person.name


def test_by_the_responses_api(common: dict[str, Any]) -> None:
    chat = ChatOpenAI(model="smollm2", temperature=0, use_responses_api=True, **common)
    short = chat.bind(max_output_tokens=12)
    assert short.invoke("Hello").text
    assert len(list(short.stream("Hello"))) > 2
    person = chat.with_structured_output(Person).invoke(STORY)
    assert isinstance(person, Person)


def test_documents_are_embedded(common: dict[str, Any]) -> None:
    # it would cut texts into another model's tokens, by a tokenizer from the internet
    embeddings = OpenAIEmbeddings(model="minilm", check_embedding_ctx_length=False, **common)
    one, other = embeddings.embed_documents(["A man is eating food.", "A man is eating a piece of bread."])
    assert len(one) == 384
    assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.7
    assert embeddings.embed_query("A man is eating food.") == pytest.approx(one, abs=1e-6)
