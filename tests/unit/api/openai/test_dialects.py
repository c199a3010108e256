"""However an answer comes in pieces, what is streamed of it adds up to what is given whole."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.api.generation.dialect import Dialect
from edged.api.generation.events import CallDelta, Collected, Delta, FinishReason, Piece, Told
from edged.api.openai.chat_answer import ChatDialect
from edged.api.openai.responses.dialect import ResponsesDialect
from edged.api.openai.responses.request import ResponsesRequest
from edged.errors import Overloaded
from edged.runner.protocol import Generate, TokenLogprob

Json = dict[str, Any]

TOLD = Told(
    n_prompt_tokens=3,
    n_cached_tokens=1,
    n_generated_tokens=9,
    load_s=0.0,
    prompt_s=0.0,
    generation_s=0.0,
    total_s=0.0,
)
_TEXTS = st.lists(st.text(min_size=1, max_size=3), max_size=3)
_CALLS = st.lists(_TEXTS, max_size=3)  # the pieces of each one's arguments


def pieces_of(
    reasoning: Sequence[str], text: Sequence[str], calls: Sequence[Sequence[str]], cut: bool
) -> list[Piece]:
    """An answer as readers give it: what the model thinks, what it says, what it calls; then its end."""
    deltas = [Delta(reasoning=each) for each in reasoning] + [Delta(text=each) for each in text]
    for number, arguments in enumerate(calls):
        first = CallDelta(number=number, id=f"call_{number}", name=f"f{number}")
        deltas += [
            Delta(calls=(call,))
            for call in (first, *(CallDelta(number=number, arguments=a) for a in arguments))
        ]
    reason: FinishReason = "length" if cut else "tool_calls" if calls else "stop"
    token = TokenLogprob(b"x", -1.0)
    said = [
        Piece(index=0, delta=delta, n_generated=place + 1, logprobs=(token,) if delta.text else ())
        for place, delta in enumerate(deltas)
    ]
    return [*said, Piece(index=0, delta=Delta(), n_generated=len(deltas) + 1, finish_reason=reason)]


def written(dialect: Dialect, pieces: Sequence[Piece]) -> tuple[Json, list[Json]]:
    """The whole answer, and the events of a stream."""
    collected = Collected(0)
    for piece in pieces:
        collected.add(piece)
    whole = json.loads(dialect.whole([collected.answer()], TOLD))
    stream: Iterable[bytes] = [
        *dialect.opening(),
        *(part for piece in pieces for part in dialect.piece(piece)),
        *dialect.closing(TOLD),
    ]
    lines = b"".join(stream).decode().split("\n")
    found = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return whole, [json.loads(each) for each in found if each != "[DONE]"]


@given(_TEXTS, _TEXTS, _CALLS, st.booleans())
@settings(deadline=None)
def test_a_chats_chunks_add_up(
    reasoning: list[str], text: list[str], calls: list[list[str]], cut: bool
) -> None:
    dialect = ChatDialect("m", 1, logprobs=True, include_usage=True)
    whole, chunks = written(dialect, pieces_of(reasoning, text, calls, cut))
    [choice] = whole["choices"]
    *choices, usage = chunks
    sum_: Json = {"content": "", "reasoning_content": "", "tool_calls": {}}
    entries: list[Any] = []
    for chunk in choices:
        [gained] = chunk["choices"]
        delta = gained["delta"]
        for name in ("content", "reasoning_content"):
            sum_[name] += delta.get(name, "")
        for call in delta.get("tool_calls", ()):
            known = sum_["tool_calls"].setdefault(call["index"], {"arguments": ""})
            known["arguments"] += call["function"].pop("arguments")
            known |= {"id": call["id"], **call["function"]} if "id" in call else {}
        entries += gained["logprobs"]["content"] if gained["logprobs"] else []
    message = choice["message"]
    assert sum_["content"] == (message["content"] or "")
    assert sum_["reasoning_content"] == message.get("reasoning_content", "")
    assert list(sum_["tool_calls"].values()) == [
        {"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())
    ]
    assert entries == choice["logprobs"]["content"]
    assert [each["choices"][0]["finish_reason"] for each in choices][-1] == choice["finish_reason"]
    assert (usage["usage"], usage["choices"]) == (whole["usage"], [])


@given(_TEXTS, _TEXTS, _CALLS, st.booleans())
@settings(deadline=None)
def test_a_responses_events_add_up(
    reasoning: list[str], text: list[str], calls: list[list[str]], cut: bool
) -> None:
    dialect = ResponsesDialect("m", ResponsesRequest(input="a"), Generate(id=0))
    whole, events = written(dialect, pieces_of(reasoning, text, calls, cut))
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    assert [event["type"] for event in (*events[:2], events[-1])] == [
        *("response.created", "response.in_progress"),
        "response.incomplete" if cut else "response.completed",
    ]
    last = events[-1]["response"]
    assert _nameless(last) == _nameless(whole)
    texts: dict[int, str] = {}
    open_items: set[int] = set()
    for event in events[2:-1]:
        place, kind = event["output_index"], event["type"].rpartition(".")[2]
        if kind == "added" and "item" in event:
            assert place == len(texts)
            texts[place], open_items = "", {place}
        assert open_items == {place}
        texts[place] += event.get("delta", "")
        if kind == "done" and "item" in event:
            assert event["item"] == last["output"][place]
            assert texts[place] == _text(event["item"])
            open_items = set()
    assert len(texts) == len(last["output"]) > 0


def _nameless(response: Json) -> Json:
    output = [{name: item[name] for name in item.keys() - {"id"}} for item in response["output"]]
    return {**response, "output": output}


def _text(item: Json) -> str:
    text: str = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
    return text


@pytest.mark.parametrize("begun", [False, True])
def test_a_response_that_fails_has_begun(begun: bool) -> None:
    dialect = ResponsesDialect("m", ResponsesRequest(input="a"), Generate(id=0))
    stream = [*(dialect.opening() if begun else ()), *dialect.failed(Overloaded("full", 1.0))]
    events = [json.loads(part.decode().partition("data: ")[2]) for part in stream]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == ["created", "in_progress", "error", "failed"]
    assert events[-1]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "full"}
