"""llama.cpp's own endpoints."""

import json
from typing import Any

import pytest

from edged.api.llamacpp.embedding import normalized
from tests.api.conftest import MODELS, Json, Running, Serve


def bytes_of(text: str) -> list[int]:
    """What the fake model has for tokens."""
    return list(text.encode())


def said(text: str) -> str:
    """What the fake model answers to a prompt that was made tokens of."""
    return " ".join(f"t{token}" for token in bytes_of(text))


def complete(edged: Running, prompt: Any, **more: Any) -> Json:
    answer: Json = edged.post("/completion", {"prompt": prompt, **more}).json()
    return answer


def events(body: bytes) -> list[Json]:
    return [json.loads(event.removeprefix("data: ")) for event in body.decode().strip().split("\n\n")]


def test_a_completion(edged: Running) -> None:
    answer = complete(edged, "ab", cache_prompt=False)
    settings, timings = answer.pop("generation_settings"), answer.pop("timings")
    assert answer == {
        "index": 0, "content": "t97 t98", "tokens": [], "stop": True, "id_slot": -1, "model": "chat",
        "tokens_predicted": 2, "tokens_evaluated": 2, "prompt": "ab", "has_new_line": False,
        "truncated": False, "stop_type": "eos", "stopping_word": "", "tokens_cached": 0,
    }  # fmt: skip
    assert (settings["temperature"], settings["n_predict"], settings["stream"]) == (0.8, -1, False)
    assert (timings["prompt_n"], timings["predicted_n"]) == (2, 2)


@pytest.mark.parametrize(
    ("prompt", "content", "shown"),
    [
        ("ab", said("ab"), "ab"),
        ([97, 98], "t97 t98", "ab"),
        ([97, "b"], said("ab"), "ab"),
        (["ab"], said("ab"), "ab"),
        ([["a", 98]], said("ab"), "ab"),
        ({"prompt_string": "ab"}, said("ab"), "ab"),
    ],
)
def test_prompts_are_texts_and_tokens(edged: Running, prompt: Any, content: str, shown: str) -> None:
    answer = complete(edged, prompt)
    assert (answer["content"], answer["prompt"]) == (content, shown)


def test_an_answer_says_why_it_ended(edged: Running) -> None:
    word = complete(edged, "abc", stop=["t99"])
    assert (word["content"], word["stop_type"], word["stopping_word"]) == ("t97 t98 ", "word", "t99")
    limit = complete(edged, "abc", n_predict=2)
    assert (limit["content"], limit["stop_type"], limit["truncated"]) == ("t97 t98", "limit", False)


def test_probabilities_name_tokens(edged: Running) -> None:
    [first, _] = complete(edged, "ab", n_probs=1)["completion_probabilities"]
    likeliest = {"id": 1, "token": "t97", "bytes": bytes_of("t97"), "logprob": 0.0}
    assert first == {**likeliest, "id": 0, "top_logprobs": [likeliest]}


def test_tokens_are_told_where_that_is_asked_for(edged: Running) -> None:
    assert complete(edged, "abc", return_tokens=True)["tokens"] == [0, 1, 2]
    assert complete(edged, "abc", return_tokens=False)["tokens"] == []


def test_a_stream(edged: Running) -> None:
    *pieces, end = events(edged.post("/completion", {"prompt": "ab", "stream": True}).body)
    assert [(each["content"], each["tokens"]) for each in pieces] == [("t97", [0]), (" t98", [1])]
    assert not any(each["stop"] for each in pieces)
    assert (end["content"], end["stop"], end["stop_type"]) == ("", True, "eos")
    assert end["timings"]["predicted_n"] == 2


def test_several_answers_are_a_list(edged: Running) -> None:
    answers = edged.post("/completions", {"prompt": "a", "n_cmpl": 2}).json()
    assert [(each["index"], each["content"]) for each in answers] == [(0, "t97"), (1, "t97")]
    streamed = events(edged.post("/completion", {"prompt": "a", "n_cmpl": 2, "stream": True}).body)
    assert sorted(each["index"] for each in streamed if each["stop"]) == [0, 1]


def test_only_the_fields_that_are_asked_for(edged: Running) -> None:
    fields = ["content", "generation_settings/n_predict", "timings/prompt_n", "nothing/here"]
    answer = complete(edged, "a", n_predict=3, response_fields=fields)
    assert answer == {"content": "t97", "n_predict": 3, "prompt_n": 1}


@pytest.mark.parametrize(
    "biases", [[[5, 1.5]], [[5, False], ["ab", -2]], {"5": 1, "ab": -1.5}, {"5": False}, []]
)
def test_biases_are_of_tokens_and_texts(edged: Running, biases: Any) -> None:
    assert complete(edged, "a", logit_bias=biases)["content"] == "t97"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "unsupported_parameter"),
        ({"prompt": [97, ["a"]]}, "prompt", "invalid_value"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "prompt", "unsupported_parameter"),
        ({"n_predict": 0}, "n_predict", "invalid_value"),
        ({"logit_bias": {"5": True}}, "logit_bias", "invalid_value"),
        ({"logit_bias": [[token, 1] for token in range(1025)]}, "logit_bias", "invalid_value"),
        ({"grammar": "root ::= ", "json_schema": {}}, "json_schema", "invalid_value"),
        ({"dry_multiplier": 0.8}, "dry_multiplier", "unsupported_parameter"),
        ({"samplers": ["top_k"]}, "samplers", "unsupported_parameter"),
        ({"model": "embed"}, "model", "invalid_value"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(edged: Running, fields: Json, param: str, code: str) -> None:
    answer = edged.post("/completion", {"prompt": "a", **fields})
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_what_llama_cpp_sends_by_default_is_taken(edged: Running) -> None:
    """Its own web page names every setting, nearly all of them as they are anyway."""
    defaults = {
        "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 64,
        "dry_sequence_breakers": ["\n"], "dynatemp_range": 0, "dynatemp_exponent": 1, "xtc_probability": 0,
        "xtc_threshold": 0.1, "min_keep": 0, "id_slot": -1, "n_keep": 0, "t_max_predict_ms": 0, "lora": [],
        "samplers": ["dry", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"], "n_probs": 0,
        "timings_per_token": True, "return_progress": False, "post_sampling_probs": False, "grammar": "",
    }  # fmt: skip
    assert complete(edged, "a", **defaults)["content"] == "t97"


def test_tokens_there_and_back(edged: Running) -> None:
    assert edged.post("/tokenize", {"content": "aé"}).json() == {"tokens": bytes_of("aé")}
    pieces = edged.post("/tokenize", {"content": "aé", "with_pieces": True}).json()["tokens"]
    assert pieces[0] == {"id": 97, "piece": "a"}
    assert pieces[1] == {"id": 195, "piece": [195]}
    assert edged.post("/detokenize", {"tokens": bytes_of("aé")}).json() == {"content": "aé"}
    assert edged.post("/tokenize", {"content": "ab", "model": "embed"}).json() == {"tokens": [97, 98]}
    outside = edged.post("/detokenize", {"tokens": [5000]})
    assert (outside.status, outside.error["param"]) == (400, "tokens")


def test_what_would_hold_a_runner_up_is_refused(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, server={"max_body": 8 << 20})
    for path, name, given in (
        ("tokenize", "content", "a" * 1_000_001),
        ("detokenize", "tokens", [97] * 1_000_001),
    ):
        answer = running.post(f"/{path}", {name: given})
        assert (answer.status, answer.error["param"]) == (400, name)
        assert running.post(f"/{path}", {name: given[:-1]}).status == 200


def test_a_template_is_applied(edged: Running) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    assert edged.post("/apply-template", body).json() == {"prompt": "tool: add\nuser: hi\nassistant:"}
    body["add_generation_prompt"] = False
    assert edged.post("/apply-template", body).json() == {"prompt": "tool: add\nuser: hi"}


def test_embeddings_by_other_norms(edged: Running) -> None:
    [vector] = edged.post("/embedding", {"content": "abc"}).json()[0]["embedding"]
    assert vector == pytest.approx([0.866, 0.289, 0.289, 0.289], abs=1e-3)
    two = edged.post("/embeddings", {"input": ["abc", "abc"], "embd_normalize": 1}).json()
    assert [each["index"] for each in two] == [0, 1]
    assert sum(two[1]["embedding"][0]) == pytest.approx(1)
    assert max(normalized((0.6, -0.8), 0), key=abs) == pytest.approx(-32760)
    assert sum(abs(number) ** 3 for number in normalized((0.6, -0.8), 3)) == pytest.approx(1)
    for wrong in ({"embd_normalize": -1}, {"input": "a"}):
        assert edged.post("/embedding", {"content": "abc", **wrong}).status == 400
    assert edged.post("/embedding", {}).error["param"] == "content"


def test_properties_and_slots_do_not_wait_for_the_model(serve: Serve) -> None:
    running = serve(MODELS, preload=False)
    props = running.get("/props").json()
    assert (props["model_alias"], props["total_slots"], props["is_sleeping"]) == ("chat", 2, True)
    assert props["default_generation_settings"]["n_ctx"] == 64
    assert [slot["is_processing"] for slot in running.get("/slots").json()] == [False, False]
    assert running.get("/slots?model=embed&fail_on_no_slot=1").status == 200
    assert running.get("/props?model=none").status == 404
    assert running.pool.status("chat").state == "unloaded"


def test_without_a_name_it_must_be_clear_which_model_is_meant(serve: Serve) -> None:
    running = serve({"one": "fake:generate", "two": "fake:generate"}, problems={"gone": "is not there"})
    answer = running.post("/completion", {"prompt": "a"})
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "send one of one, two" in answer.error["message"]
    assert "none of kind embed" in running.post("/embedding", {"content": "a"}).error["message"]
    assert running.get("/props?model=gone").status == 503


def test_health_has_two_names(edged: Running) -> None:
    assert edged.get("/v1/health").json() == edged.get("/health").json() == {"status": "ok"}
