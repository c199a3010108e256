"""Files without a chat template: the family is known by its control tokens, or there is no chat."""

import pytest

from edged.runner.engine.conversation import Traits
from edged.runner.engine.default_template import default_template
from edged.runner.engine.prompt import ChatTemplate, Conversation
from edged.runner.engine.template import Template
from edged.runner.protocol import Message

_TURNS = (
    Message("system", "Be brief. "),
    Message("user", "Hi"),
    Message("assistant", "Yes?"),
    Message("user", "Why?"),
)


class Words:
    """Control tokens have numbers below 100, every other character its code point plus 100."""

    bos_text = "<bos>"
    eos_text = "<eos>"
    adds_bos = True

    def __init__(self, *control: str) -> None:
        self._control = dict(zip((*control, self.bos_text), range(99), strict=False))
        self.names = {number: text for text, number in self._control.items()}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = [self._control[self.bos_text]] if add_special else []
        while text:
            found = next((each for each in self._control if parse_special and text.startswith(each)), None)
            tokens.append(self._control[found] if found else ord(text[0]) + 100)
            text = text[len(found or text[0]) :]
        return tokens

    def control_texts(self) -> list[str]:
        return list(self._control)


@pytest.mark.parametrize(
    ("control", "family", "expected"),
    [
        (
            ("<start_of_turn>", "<end_of_turn>"),
            "Gemma",
            "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\nYes?<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            ("<|im_start|>", "<|im_end|>"),
            "ChatML",
            "<bos><|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            "Llama 3",
            "<bos><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
    ],
)
def test_each_family_by_its_tokens(control: tuple[str, ...], family: str, expected: str) -> None:
    vocabulary = Words(*control)
    known = default_template(vocabulary)
    assert known is not None
    assert known.family == family
    template = ChatTemplate(Template(known.source).render, Traits(), vocabulary)
    tokens = template.prompt(Conversation(_TURNS)).tokens
    assert "".join(vocabulary.names.get(token) or chr(token - 100) for token in tokens) == expected


def test_a_vocabulary_without_turns_has_no_template() -> None:
    assert default_template(Words("<pad>")) is None
