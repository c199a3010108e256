"""ollama's own client in conversations with the real application, and Home Assistant's way to call it."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import ollama
import pytest

from tests.api.conftest import PATIENCE_S, Json, Running, Serve, eventually
from tests.api.test_tools import ARGUMENTS, CALL, TOOLS

THINKING = {"chat": "fake:generate?reasons=true"}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def client_of(running: Running) -> ollama.Client:
    """ollama's client; the caller closes it."""
    return ollama.Client(host=running.server.url, timeout=PATIENCE_S)


@pytest.fixture
def client(edged: Running) -> Iterator[ollama.Client]:
    with client_of(edged) as client:
        yield client


def user(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def error_of(running: Running, path: str, body: Json) -> str:
    """Why a request is refused, in ollama's shape."""
    answer = running.post(path, body)
    assert answer.status == 400, answer.body
    assert set(answer.json()) == {"error"}
    return str(answer.json()["error"])


def test_a_chat_is_answered_with_durations_and_counts(client: ollama.Client) -> None:
    answer = client.chat("chat:latest", user("why is the sky blue"))
    assert answer.model == "chat:latest"
    assert answer.message.role == "assistant"
    assert answer.message.content == "why is the sky blue"
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (5, 5)
    assert answer.total_duration is not None
    parts = (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    assert all(part is not None for part in parts)
    assert answer.total_duration >= max(part for part in parts if part is not None)
    assert answer.created_at is not None
    assert answer.created_at.endswith("Z")


def test_a_chat_is_streamed_by_the_line_unless_that_is_turned_off(edged: Running) -> None:
    answer = edged.post("/api/chat", {"model": "chat", "messages": user("one two")})
    assert answer.headers.get_content_type() == "application/x-ndjson"
    *lines, last = map(json.loads, answer.body.splitlines())
    assert "".join(line["message"]["content"] for line in lines) == "one two"
    assert not any(line["done"] or "eval_count" in line for line in lines)
    assert last["done"]
    assert last["message"]["content"] == ""
    assert (last["done_reason"], last["eval_count"]) == ("stop", 2)


def test_generate_answers_a_prompt(client: ollama.Client) -> None:
    whole = client.generate("chat", "a b c", system="be brief", options={"num_predict": 2})
    assert (whole.response, whole.done_reason) == ("a b", "length")
    assert whole.prompt_eval_count == 5
    pieces = list(client.generate("chat", "a b c", stream=True))
    assert "".join(piece.response or "" for piece in pieces) == "a b c"
    assert [piece.done for piece in pieces][-2:] == [False, True]


def test_a_raw_prompt_is_gone_on_with_as_it_is(client: ollama.Client) -> None:
    assert client.generate("chat", "[a", raw=True).response == f"t{ord('[')} t{ord('a')}"


def test_options_that_outdated_clients_send_are_taken(client: ollama.Client) -> None:
    options: Json = {
        "num_keep": 5, "seed": 42, "num_predict": 100, "top_k": 20, "top_p": 0.9, "min_p": 0.0,
        "typical_p": 0.7, "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2,
        "presence_penalty": 1.5, "frequency_penalty": 1.0, "mirostat": 1, "mirostat_tau": 0.8,
        "mirostat_eta": 0.6, "penalize_newline": True, "stop": ["\n", "user:"], "numa": False,
        "num_ctx": 1024, "num_batch": 2, "num_gpu": 1, "main_gpu": 0, "low_vram": False,
        "vocab_only": False, "use_mmap": True, "use_mlock": False, "num_thread": 8,
    }  # fmt: skip
    assert client.generate("chat", "a user: b", options=options).response == "a "


@pytest.mark.parametrize("n_predict", [-2, -1, 0])
def test_no_length_is_no_limit(client: ollama.Client, n_predict: int) -> None:
    options = {"num_predict": n_predict, "repeat_last_n": -1}
    assert client.generate("chat", "a b c", options=options).response == "a b c"


@pytest.mark.parametrize(
    ("path", "more", "why"),
    [
        ("generate", {"suffix": "x"}, "suffix: "),
        ("generate", {"template": "{{ .Prompt }}"}, "template: "),
        ("generate", {"context": [1, 2]}, "context: is outdated; send the conversation to /api/chat"),
        ("generate", {"images": ["AAAA"]}, "images: models here read text only"),
        ("generate", {"width": 512}, "width: "),
        ("generate", {"raw": True, "system": "x"}, "system: "),
        ("generate", {"raw": True, "think": True}, "think: "),
        ("generate", {"options": {"tfs_z": 0.5}}, "options.tfs_z: "),
        ("generate", {"options": {"nonsense": 1}}, "options.nonsense: is not a field that edged knows"),
        ("generate", {"options": {"temperature": -1}}, "options.temperature: "),
        ("generate", {"format": "yaml"}, "format: "),
        ("generate", {"top_logprobs": 3}, "top_logprobs: needs logprobs: true"),
        ("generate", {"truncate": True}, "truncate: what does not fit is refused"),
        ("generate", {"keep_alive": "soon"}, "keep_alive: "),
        ("chat", {"messages": [{**user("x")[0], "images": ["AAAA"]}]}, "messages[0].images: "),
        ("chat", {"messages": [{"role": "user"}]}, "messages[0].content: is missing"),
        ("chat", {"messages": [{**user("x")[0], "tool_name": "y"}]}, "messages[0].tool_name: "),
        ("chat", {"think": True}, "think: chat does not support thinking"),
        ("chat", {"format": {"type": "nothing"}}, "format.type: "),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(edged: Running, path: str, more: Json, why: str) -> None:
    asked = {"prompt": "x"} if path == "generate" else {"messages": user("x")}
    assert error_of(edged, f"/api/{path}", {"model": "chat", **asked, **more}).startswith(why)


def test_what_asks_for_nothing_is_taken(client: ollama.Client) -> None:
    """As Go programs send it, which leave no field out."""
    nothing: Any = {"suffix": "", "template": "", "system": "", "images": [], "context": [], "format": ""}
    assert client.generate("chat", "x", raw=False, think=False, options={}, **nothing).response == "x"


def test_an_embedding_model_does_not_chat(edged: Running) -> None:
    why = error_of(edged, "/api/chat", {"model": "embed", "messages": user("x")})
    assert why.startswith("model: embed makes embeddings")


def test_calls_are_told_as_objects_in_and_out_of_a_stream(client: ollama.Client) -> None:
    asked: Any = {"model": "chat", "messages": user(f"I look {CALL} {CALL}"), "tools": TOOLS}
    whole = client.chat(**asked)
    assert whole.message.content == "I look"
    assert whole.done_reason == "stop"
    calls = [call.function for call in whole.message.tool_calls or ()]
    assert [(call.name, call.arguments) for call in calls] == [("weather", ARGUMENTS)] * 2
    lines = list(client.chat(**asked, stream=True))
    told = [call.function for line in lines for call in line.message.tool_calls or ()]
    assert told == calls
    assert "".join(line.message.content or "" for line in lines).strip() == "I look"


def test_a_call_that_is_cut_off_is_text(client: ollama.Client) -> None:
    answer = client.chat("chat", user(CALL), tools=TOOLS, options={"num_predict": 5})
    assert not answer.message.tool_calls
    assert "weather" in (answer.message.content or "")


def test_functions_of_python_are_offered(client: ollama.Client) -> None:
    def weather(city: str) -> str:
        """The weather.

        Args:
            city: where

        """
        return city

    answer = client.chat("chat", user(CALL), tools=[weather])
    [call] = answer.message.tool_calls or ()
    assert weather(**call.function.arguments) == "Rome"


def test_what_is_thought_is_told_apart(serve: Serve) -> None:
    with client_of(serve(THINKING)) as client:
        question = user("<think> well </think> hello")
        whole = client.chat("chat", question, think=True)
        assert (whole.message.thinking or "").strip() == "well"
        assert (whole.message.content or "").strip() == "hello"
        lines = list(client.chat("chat", question, think="low", stream=True))
        assert "".join(line.message.thinking or "" for line in lines).strip() == "well"
        prompt = client.generate("chat", question[0]["content"], think=False)
        assert (prompt.thinking or "").strip() == "well"
        assert (prompt.response or "").strip() == "hello"


def test_log_probabilities(client: ollama.Client) -> None:
    whole = client.generate("chat", "a b", logprobs=True, top_logprobs=2)
    assert [entry.token for entry in whole.logprobs or ()] == ["a", " b"]
    assert all(len(entry.top_logprobs or ()) == 2 for entry in whole.logprobs or ())
    lines = list(client.chat("chat", user("a b"), logprobs=True, stream=True))
    assert [entry.token for line in lines for entry in line.logprobs or ()] == ["a", " b"]


@pytest.mark.parametrize("wanted", ["json", SCHEMA])
def test_a_format_is_asked_for(client: ollama.Client, wanted: Any) -> None:
    """The fake does not hold to it; that the grammar holds is tested with real models."""
    assert client.chat("chat", user("x"), format=wanted).message.content == "x"


def test_without_a_prompt_models_are_loaded_and_unloaded(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, preload=False)
    with client_of(running) as client:
        assert client.generate("chat", keep_alive=0).done_reason == "unload"
        assert running.pool.status("chat").state == "unloaded"
        loaded = client.generate("chat")
        assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
        assert running.pool.status("chat").state == "ready"
        assert client.chat("chat", []).done_reason == "load"
        assert list(client.generate("chat", keep_alive=0, stream=True))[-1].done_reason == "unload"
        assert running.pool.status("chat").state == "unloaded"


def test_a_model_at_work_is_unloaded_after_its_answer(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.05"})
    with client_of(running) as client:
        answer = client.chat("chat", user("one two three four five six"), stream=True)
        first = next(answer)
        assert client.generate("chat", keep_alive=0).done_reason == "unload"
        rest = "".join(line.message.content or "" for line in answer)
    assert (first.message.content or "") + rest == "one two three four five six"
    assert eventually(lambda: running.pool.status("chat").state == "unloaded")


def test_a_pinned_model_is_not_unloaded(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, model={"pinned": True})
    why = error_of(running, "/api/generate", {"model": "chat", "keep_alive": 0})
    assert why == "keep_alive: chat is pinned; set models.chat.pinned to false to unload it"


def test_home_assistants_conversation(edged: Running) -> None:
    """What its integration sends: num_ctx as a float, `-1s`, results that do not name their tool."""
    messages = [
        {"role": "system", "content": "You are a voice assistant."},
        {"role": "user", "content": "lights"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "weather", "arguments": {}}}],
        },
        {"role": "tool", "content": '{"data": {}, "error": null}'},
        {"role": "user", "content": "thanks"},
    ]
    body = {
        "model": "chat:latest", "messages": messages, "tools": TOOLS, "stream": True, "think": False,
        "keep_alive": "-1s", "options": {"num_ctx": 8192.0},
    }  # fmt: skip
    lines = [msgspec.json.decode(line) for line in edged.post("/api/chat", body).body.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "thanks"
    assert lines[-1]["done"]


def test_what_goes_wrong_in_a_stream_is_raised_by_the_client(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?crash_after=3"})
    with client_of(running) as client, pytest.raises(ollama.ResponseError, match="runner"):
        list(client.generate("chat", "a b c d e f", stream=True))


def test_a_stream_stays_open_while_its_model_loads(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=1.5"}, preload=False)
    with client_of(running) as client:
        lines = list(client.chat("chat", user("hello"), stream=True))
    assert lines[0].message.content == ""
    assert "".join(line.message.content or "" for line in lines) == "hello"
    assert (lines[-1].load_duration or 0) > 1e9
