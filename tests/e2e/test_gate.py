"""Grammars that wait, with a real vocabulary: what is sampled is what the grammar follows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llama_cpp import llama_cpp as llama

from edged.runner.engine.gate import Gate
from edged.runner.engine.sampling import stages
from edged.runner.grammar import Grammar
from edged.runner.protocol import Sampling
from edged.runner.sampler import Sampler
from edged.runner.vocabulary import Vocabulary

CALL = 'root ::= "<tool_call>" "\\n"? "{" ["a-z]* "}" "\\n</tool_call>"'
STRING = 'root ::= "\\"" [^"]* "\\""'
THINK = ("<think>", "</think>")


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
    silent = Wishes(vocabulary, 'root ::= "\\"" [a-z<|_>] [a-z<|_>] "\\""', Gate())
    silent.want('"', "<|im_start|>", "<|im_start|>", '"')
    assert len(silent.text) == 4
    shown = Wishes(vocabulary, STRING, Gate(), control_pieces=True)
    assert shown.want('"', "<|im_start|>", '"') == '"<|im_start|>"'
