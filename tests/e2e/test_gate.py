"""Grammars that wait, with a real vocabulary: what is sampled is what the grammar follows."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llama_cpp import llama_cpp as llama

from edged.api.generation.order import Offer, Shape
from edged.runner.engine.gate import Gate
from edged.runner.engine.sampling import stages
from edged.runner.grammar import Grammar
from edged.runner.protocol import Sampling, Tool, ToolFormat
from edged.runner.sampler import Sampler
from edged.runner.vocabulary import Vocabulary

CALL = 'root ::= "<tool_call>" "\\n"? "{" ["a-z]* "}" "\\n</tool_call>"'
STRING = 'root ::= "\\"" [^"]* "\\""'
THINK = ("<think>", "</think>")
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
TOOLS = tuple(
    Tool(name, "", json.dumps({"properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]}))
    for name in ("add", "add_slowly", "multiply")
)
ADDED = '{"a": 5, "b": 7}'


@pytest.fixture(scope="module")
def vocabulary(models: Path) -> Iterator[Vocabulary]:
    """SmolLM2's, without the model."""
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(str(models / "smollm2.gguf").encode(), params)
    assert model
    yield Vocabulary(model)
    llama.llama_model_free(model)


class Wishes:
    """A model that wants certain tokens, and what it gets."""

    def __init__(
        self, vocabulary: Vocabulary, grammar: str, gate: Gate, *, control_pieces: bool = False
    ) -> None:
        self._vocabulary = vocabulary
        self._control_pieces = control_pieces
        held = Grammar(vocabulary, grammar, gate, control_pieces=control_pieces)
        self._sampler = Sampler(vocabulary, stages(Sampling(temperature=0)), {}, held, [])
        self.text = ""
        self.ended = False

    def want(self, *texts: str) -> str:
        """The tokens of texts, one after the other; any other where one is not to be had. What came of it."""
        begin = len(self.text)
        for text in texts:
            for token in self._vocabulary.tokenize(text, add_special=False, parse_special=True):
                logits = np.linspace(1, 0, self._vocabulary.size, dtype=np.float32)
                logits[token] = 9
                chosen = self._sampler.choose(logits)
                assert chosen is not None
                self.ended |= self._vocabulary.ends_generation(chosen)
                self.text += self._vocabulary.piece(chosen, control=self._control_pieces).decode()
        return self.text[begin:]


def test_a_call_is_held_from_its_trigger(vocabulary: Vocabulary) -> None:
    wishes = Wishes(vocabulary, CALL, Gate(["<tool_call>"]))
    free = 'I <will> call it, "A":\n'
    assert wishes.want(free) == free
    assert wishes.want('<tool_call>\n{"a"') == '<tool_call>\n{"a"'
    assert "A" not in wishes.want("A", "A")
    assert wishes.want("}", "\n</tool_call>", "more") == "}\n</tool_call>"
    assert wishes.ended


def test_a_trigger_may_end_within_a_token(vocabulary: Vocabulary) -> None:
    """`help` is a token, and so is `hello`, of which the grammar knows only the beginning."""
    assert len(vocabulary.tokenize("hello", add_special=False, parse_special=False)) == 1
    wishes = Wishes(vocabulary, 'root ::= "help"', Gate(["hel"]))
    assert wishes.want("hello world") == "hello world"
    assert wishes.want(" help") == " help"
    assert not wishes.ended
    wishes.want("more")
    assert wishes.ended


def test_an_answer_may_end_before_any_trigger(vocabulary: Vocabulary) -> None:
    wishes = Wishes(vocabulary, CALL, Gate(["<tool_call>"]))
    wishes.want("Hello", "<|im_end|>")
    assert wishes.text == "Hello"
    assert wishes.ended


def test_what_the_model_thinks_is_free(vocabulary: Vocabulary) -> None:
    wishes = Wishes(vocabulary, STRING, Gate((), THINK, opened=True))
    assert wishes.want('Say "hi"! </think>\n', '"hi', '"') == 'Say "hi"! </think>\n"hi"'
    wishes = Wishes(vocabulary, STRING, Gate((), THINK))
    assert wishes.want("Hello")[:1] == '"'


def test_a_control_token_is_not_taken_for_its_text(vocabulary: Vocabulary) -> None:
    """Its text would fit into a string, but the client does not get it."""
    silent = Wishes(vocabulary, STRING, Gate())
    assert silent.want('"') == '"'
    assert silent.want("<|im_start|>") != ""
    shown = Wishes(vocabulary, STRING, Gate(), control_pieces=True)
    assert shown.want('"', "<|im_start|>", '"') == '"<|im_start|>"'


@pytest.mark.parametrize("style", ["hermes", "llama3", "mistral", "generic"])
def test_llama_cpp_reads_the_grammars_of_calls(vocabulary: Vocabulary, style: ToolFormat) -> None:
    """And follows a call of the model's own format to its end."""
    written = {
        "hermes": f'Well. <tool_call>\n{{"name": "add", "arguments": {ADDED}}}\n</tool_call>',
        "llama3": f'{{"name": "add", "parameters": {ADDED}}}',
        "mistral": f"Well.[TOOL_CALLS]add[ARGS]{ADDED}",
        "generic": f'{{"tool_calls": [{{"name": "add", "arguments": {ADDED}}}]}}',
    }
    sampling = Shape(Offer(TOOLS), None).sampling(Sampling(), style)
    assert sampling.grammar is not None
    wishes = Wishes(vocabulary, sampling.grammar, Gate(sampling.grammar_triggers))
    assert wishes.want(written[style]) == written[style]
    assert not wishes.ended
    assert wishes.want("<|im_end|>") == ""
    assert wishes.ended
    wishes = Wishes(vocabulary, sampling.grammar, Gate(sampling.grammar_triggers))
    assert wishes.want(written[style].replace("5", "x")) != written[style].replace("5", "x")


CHAINS = [
    Sampling(temperature=0),
    Sampling(temperature=0, repeat_penalty=1.3, logit_bias={5: 3.0, 40: -4.0}),
    Sampling(temperature=1, top_k=3, seed=1),
    Sampling(temperature=0.7, min_p=0.5, top_p=1, presence_penalty=1, seed=1),
    Sampling(temperature=0.7, min_p=0, seed=1),
]


@pytest.mark.parametrize("sampling", CHAINS, ids=str)
def test_the_likeliest_tokens_decide_as_all_do(
    vocabulary: Vocabulary, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grammar is asked of a few tokens only where the others could not be chosen anyway."""

    def chosen() -> list[int | None]:
        grammar = Grammar(vocabulary, 'root ::= [a-z ]+ "."', Gate(), control_pieces=False)
        sampler = Sampler(vocabulary, stages(sampling), sampling.logit_bias, grammar, [5, 40, 300])
        random = np.random.default_rng(1)
        return [
            sampler.choose(random.standard_t(3, vocabulary.size).astype(np.float32) * 2) for _ in range(60)
        ]

    among_few = chosen()
    monkeypatch.setattr(Sampler, "_among_likeliest", lambda *_: None)
    assert chosen() == among_few
