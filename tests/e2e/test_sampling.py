"""Sampling on SmolLM2: every field has its effect, and none of them ends the process."""

import concurrent.futures
import math
from typing import Any

import pytest

from tests.e2e.daemon import Daemon

_MESSAGES: Any = [{"role": "user", "content": "Name three colours."}]


def _text(daemon: Daemon, content: str, **options: Any) -> str:
    status, answer = daemon.chat(content, **options)
    assert status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


def test_log_probabilities_are_those_of_the_text(daemon: Daemon) -> None:
    answer = daemon.client().chat.completions.create(
        model="smollm2", messages=_MESSAGES, temperature=0, max_tokens=12, logprobs=True, top_logprobs=20
    )
    choice = answer.choices[0]
    assert choice.logprobs
    assert choice.logprobs.content
    assert len(choice.logprobs.content) == 12
    text = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
    assert text.decode() == choice.message.content
    for entry in choice.logprobs.content:
        values = [each.logprob for each in entry.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert (entry.token, entry.logprob) == (entry.top_logprobs[0].token, values[0]), (
            "greedy takes the first"
        )
        assert 0.05 < sum(map(math.exp, values)) <= 1 + 1e-4


def test_log_probabilities_do_not_depend_on_how_is_sampled(daemon: Daemon) -> None:
    """They are the model's own: from all tokens, before temperature, biases and penalties."""

    def first(**options: Any) -> list[tuple[str, float]]:
        options = {"logprobs": True, "top_logprobs": 5, "max_tokens": 1, **options}
        content = daemon.chat("Name three colours.", **options)[1]["choices"][0]["logprobs"]["content"]
        return [(each["token"], each["logprob"]) for each in content[0]["top_logprobs"]]

    plain = first(temperature=0)
    for options in ({"temperature": 1.5, "top_k": 2, "seed": 3}, {"logit_bias": {"5": 100}}):
        other = first(**options)
        assert [token for token, _ in other] == [token for token, _ in plain]
        assert [value for _, value in other] == pytest.approx([value for _, value in plain], abs=0.02)


def test_several_answers_share_the_prompt_and_differ(daemon: Daemon) -> None:
    answer = daemon.client().chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "Tell me about " + "the old red house " * 20}],
        temperature=1.2, seed=5, n=4, max_tokens=12, logprobs=True,
    )  # fmt: skip
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage
    assert answer.usage.completion_tokens <= 48
    for choice in answer.choices:
        assert choice.logprobs
        assert choice.logprobs.content
        text = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
        assert text.decode(errors="replace") == choice.message.content


def test_streamed_answers_are_kept_apart(daemon: Daemon) -> None:
    grammar = 'root ::= ("ä" | "🚀") " is it"'
    stream = daemon.client().chat.completions.create(
        model="smollm2", messages=_MESSAGES, seed=1, n=3, stream=True, extra_body={"grammar": grammar}
    )
    texts: dict[int, str] = {0: "", 1: "", 2: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert set(texts.values()) <= {"ä is it", "🚀 is it"}


@pytest.mark.parametrize("n", [2, 4])
def test_a_seed_gives_the_same_texts_again(daemon: Daemon, n: int) -> None:
    def ask() -> list[str]:
        _, answer = daemon.chat("Write a poem.", temperature=1.2, seed=7, max_tokens=16, n=n)
        return [choice["message"]["content"] for choice in answer["choices"]]

    ask()  # from here on the prompt is cached: what is computed is the same each time
    assert ask() == ask()


def test_a_bias_decides_and_is_checked(daemon: Daemon) -> None:
    assert _text(daemon, "hi", logit_bias={"339": 100}, max_tokens=3) == 3 * _text(
        daemon, "hi", logit_bias={"339": 100}, max_tokens=1
    )
    status, answer = daemon.chat("hi", logit_bias={"49152": 1})
    assert (status, answer["error"]["param"]) == (400, "logit_bias")


def test_ignore_eos_goes_on_and_a_finished_grammar_ends_all_the_same(daemon: Daemon) -> None:
    """After the grammar's end only the end is possible, and that is forbidden: nothing could be sampled."""
    pid = daemon.model("smollm2")["pid"]
    status, answer = daemon.chat("Say yes.", ignore_eos=True, max_tokens=300, temperature=1, seed=1)
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "length")
    for temperature in (0, 0.8):
        options = {"grammar": 'root ::= "yes"', "ignore_eos": True, "temperature": temperature}
        status, answer = daemon.chat("hello", **options)
        choice = answer["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("yes", "stop")
    assert daemon.model("smollm2")["pid"] == pid


@pytest.mark.parametrize(
    ("stop", "text", "reason"),
    [
        (["🚀"], "añ", "stop"),
        (["ñ🚀"], "a", "stop"),
        (["🚀x!"], "añ🚀x", "stop"),
        (["a"], "", "stop"),
        (["x"], "añ🚀", "stop"),
    ],
)
def test_stop_strings_span_tokens_and_bytes(daemon: Daemon, stop: list[str], text: str, reason: str) -> None:
    options = {"grammar": 'root ::= "añ🚀x"', "stop": stop, "logprobs": True, "max_tokens": 32}
    _, answer = daemon.chat("hello", **options)
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)
    sent = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
    assert sent.startswith(text.encode())
    assert len(sent) - len(text.encode()) < 4, "at most the token that the cut goes through"


def test_an_end_inside_a_character_is_marked(daemon: Daemon) -> None:
    _, answer = daemon.chat("hello", grammar='root ::= "🚀"', max_tokens=1, logprobs=True)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "�"
    assert choice["logprobs"]["content"][0]["token"].startswith("bytes:\\xf0")


@pytest.mark.parametrize(
    "options",
    [
        {"mirostat": 1},
        {"mirostat": 2, "mirostat_tau": 0, "mirostat_eta": 1},
        {"mirostat": 1, "mirostat_tau": 100, "mirostat_eta": 1},
        {"top_k": 0},
        {"top_k": 0, "top_p": 0},
        {"top_k": 2**31 - 1, "typical_p": 0},
        {"min_p": 1},
        {"typical_p": 0.3, "temperature": 0},
        {"temperature": 1e-300},
        {"temperature": 100},
        {"repeat_penalty": 10, "presence_penalty": -2, "frequency_penalty": -2, "repeat_last_n": 65536},
        {"repeat_penalty": 0.01},
        {"logit_bias": {str(token): -100 for token in range(1000)}},
        {"seed": 2**32 - 1},
        {"seed": -(2**63)},
    ],
    ids=str,
)
def test_values_at_their_ends(daemon: Daemon, options: dict[str, Any]) -> None:
    pid = daemon.model("smollm2")["pid"]
    status, answer = daemon.chat("Write a word.", **{"temperature": 0.8, "max_tokens": 6, **options})
    assert status == 200, answer
    assert daemon.model("smollm2")["pid"] == pid


def test_penalties_keep_tokens_from_coming_again(daemon: Daemon) -> None:
    def tokens(**options: Any) -> list[str]:
        asked = {"model": "smollm2", "prompt": "1 2 1 2 1 2 1 2", "max_tokens": 24, "temperature": 0}
        _, answer = daemon.call("POST", "/v1/completions", {**asked, "logprobs": 0, **options})
        return list(answer["choices"][0]["logprobs"]["tokens"])

    plain, other = tokens(), tokens(repeat_penalty=10)
    assert len(set(plain)) < len(plain)
    assert len(set(other)) == len(other)


def test_too_many_answers_are_refused_and_many_clients_with_several_are_served(daemon: Daemon) -> None:
    status, answer = daemon.chat("hi", n=128)
    assert (status, answer["error"]["param"]) == (400, "n")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(daemon.chat, f"Count to {k}.", n=3, max_tokens=8) for k in range(4)]
        answers = [each.result() for each in asked]
    assert [status for status, _ in answers] == [200] * 4
    assert all(len(answer["choices"]) == 3 for _, answer in answers)
