"""The sampler chain as a list, and grammars that would end llama.cpp's process."""

import pytest

from edged.errors import InvalidRequest
from edged.runner.engine.sampling import MAX_GRAMMAR_BYTES, check_grammar, stages
from edged.runner.protocol import Sampling


def _names(sampling: Sampling) -> list[str]:
    return [name for name, _ in stages(sampling)]


def test_the_default_chain_is_llama_servers() -> None:
    assert _names(Sampling()) == ["top_k", "top_p", "min_p", "temperature", "dist"]


def test_temperature_zero_is_greedy_and_keeps_what_changes_the_winner() -> None:
    sampling = Sampling(temperature=0, grammar="root ::= [a]", repeat_penalty=1.1, logit_bias={1: 2.0})
    assert _names(sampling) == ["logit_bias", "grammar", "penalties", "greedy"]


def test_a_seed_is_kept_and_without_one_each_request_draws_its_own() -> None:
    assert stages(Sampling(seed=7))[-1] == ("dist", (7,))
    assert len({stages(Sampling())[-1] for _ in range(5)}) > 1


def test_what_is_off_is_left_out() -> None:
    assert _names(Sampling(top_k=0, top_p=1, min_p=0, seed=1)) == ["temperature", "dist"]


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
