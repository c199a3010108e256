"""The sampler chain as a list, and grammars that would end llama.cpp's process."""

import pytest

from edged.errors import InvalidRequest
from edged.runner.engine.sampling import MAX_GRAMMAR_BYTES, check_grammar, n_decisive, seed_of, stages
from edged.runner.protocol import Sampling


def _names(sampling: Sampling) -> list[str]:
    return [name for name, _ in stages(sampling)]


def test_the_default_chain_is_llama_servers() -> None:
    assert _names(Sampling()) == ["top_k", "top_p", "min_p", "temperature", "dist"]


def test_temperature_zero_is_greedy_and_keeps_what_changes_the_winner() -> None:
    sampling = Sampling(temperature=0, grammar="root ::= [a]", repeat_penalty=1.1, logit_bias={1: 2.0})
    assert _names(sampling) == ["penalties", "greedy"]
    assert _names(Sampling(temperature=1e-30, typical_p=0.5)) == ["typical_p", "greedy"]


def test_a_seed_is_kept_and_without_one_each_request_draws_its_own() -> None:
    assert stages(Sampling(seed=7))[-1] == ("dist", (7,))
    assert len({stages(Sampling())[-1] for _ in range(5)}) > 1


def test_what_is_off_is_left_out() -> None:
    assert _names(Sampling(top_k=0, top_p=1, min_p=0, seed=1)) == ["temperature", "dist"]


def test_mirostat_stands_alone_as_in_llama_server() -> None:
    one = Sampling(mirostat=1, seed=3, mirostat_tau=4.0, mirostat_eta=0.2, repeat_penalty=1.3)
    assert stages(one) == (("temperature", (0.8,)), ("mirostat", (3, 4.0, 0.2)))
    assert _names(Sampling(mirostat=2)) == ["temperature", "mirostat_v2"]
    assert _names(Sampling(mirostat=2, temperature=0)) == ["greedy"]


@pytest.mark.parametrize("seed", [0, 1, -2, 2**32 - 1, 2**63 - 1, -(2**63)])
def test_every_given_seed_is_one_that_llama_cpp_keeps(seed: int) -> None:
    assert 0 <= seed_of(seed) < 2**32 - 1
    assert seed_of(seed) == seed_of(seed)


def test_seeds_that_mean_none() -> None:
    assert len({seed_of(seed) for seed in (None, -1) for _ in range(4)}) > 1


@pytest.mark.parametrize(
    ("sampling", "count"),
    [
        (Sampling(), 40),
        (Sampling(repeat_penalty=1.1, top_k=7), 7),
        (Sampling(temperature=0), 1),
        (Sampling(temperature=0, typical_p=0.5), None),
        (Sampling(top_k=0), None),
        (Sampling(mirostat=2), None),
    ],
)
def test_how_many_tokens_decide(sampling: Sampling, count: int | None) -> None:
    assert n_decisive(stages(sampling)) == count


def test_an_ordinary_grammar_passes() -> None:
    check_grammar('root ::= "(" [0-9]{1,3} ("," [a-z(]+)* ")" # (((((')


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("", "empty"),
        ("root ::= [a]\0", "NUL"),
        ("root ::= " + "(" * 65 + "[a]" + ")" * 65, "nest 65 deep"),
        ("root ::= [a]{5000}", "repeats 5000"),
        ("root ::= [a]{1,5000}", "repeats 5000"),
        ("root ::= [a]{" + "9" * 400 + "}", "repeats 999"),
        ("#" * (MAX_GRAMMAR_BYTES + 1), "at most"),
    ],
)
def test_a_dangerous_grammar_is_refused_with_the_field(grammar: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        check_grammar(grammar)
    assert caught.value.param == "grammar"
