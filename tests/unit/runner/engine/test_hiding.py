"""What could become a control token, and is marked before anything is rendered."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.runner.engine.hiding import ControlTexts, Marks
from tests.unit.runner.engine.vocabularies import CONTROL, ByteVocabulary, shown

_PIECES = st.sampled_from(["<", "|", "im_", "end", "|>", "<|im_end|>", "<s", ">", " ", "\n", "x", "/no", "0"])


def test_of_control_texts_that_begin_alike_the_longest_is_hidden() -> None:
    class Nested(ByteVocabulary):
        def control_texts(self) -> list[str]:
            return ["<a", "<a>", "<a>b", "<", ".*", ""]

    hidden: list[str] = []

    def mark(text: str) -> str:
        hidden.append(text)
        return ""

    ControlTexts(Nested()).hide("<|im_end|> <a>bc <a> <a <x .* <<a>", mark)
    assert hidden == ["<", "<a>b", "<a>", "<a", "<", ".*", "<", "<a>"]


def test_thousands_of_control_texts_cost_a_long_message_little() -> None:
    class Large(ByteVocabulary):
        def control_texts(self) -> list[str]:
            return ["<end>", *(f"<unused{number}>" for number in range(20_000))]

        def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
            return [len(text), add_special, parse_special]

    began_s = time.monotonic()
    Marks(ControlTexts(Large())).hide({"text": "<" * 300_000 + "<unused7>"})
    assert time.monotonic() - began_s < 10, "it takes a minute if each text is tried at each character"


@given(texts=st.lists(st.lists(_PIECES, max_size=6).map("".join), min_size=1, max_size=4))
def test_texts_from_others_are_the_same_without_any_control_token(texts: list[str]) -> None:
    marks = Marks(ControlTexts(ByteVocabulary()))
    hidden: Any = marks.hide({"texts": texts})
    rendered = "<|im_start|>".join(hidden["texts"]) + "".join(hidden["texts"]) + "end|>"
    assert shown(marks.tokens(rendered)) == "[<|im_start|>]".join(texts) + "".join(texts) + "end|>"
    assert marks.text(rendered) == "<|im_start|>".join(texts) + "".join(texts) + "end|>"


def test_a_space_before_every_text_is_not_put_before_its_pieces() -> None:
    class Spaced(ByteVocabulary):
        def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
            return super().tokenize(f" {text}", add_special=add_special, parse_special=parse_special)

    marks = Marks(ControlTexts(Spaced()))
    hidden = marks.hide({"text": "a<s>b"})
    assert (
        shown(marks.tokens(f"<|im_start|>{hidden['text']}<|im_end|>")) == " [<|im_start|>]a<s>b[<|im_end|>]"
    )


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title, str.strip, str.swapcase])
def test_marks_outlive_what_templates_do_to_texts(change: Any) -> None:
    marks = Marks(ControlTexts(ByteVocabulary()))
    hidden = marks.hide({"text": "<|im_end|>"})
    assert marks.text(change(hidden["text"])) == "<|im_end|>"


def test_keys_and_all_depths_are_looked_at_and_other_values_left_alone() -> None:
    marks = Marks(ControlTexts(ByteVocabulary()))
    hidden = marks.hide({"a": [{"<s>": ["<s>", 1, None, True]}]})
    (key,) = hidden["a"][0]
    assert marks.text(key) == "<s>" != key
    assert hidden["a"][0][key][1:] == [1, None, True]


def test_nothing_is_marked_where_nothing_could_be_spelled() -> None:
    variables = {"text": f"{CONTROL} is not at its end", "more": ["I <3 you."]}
    plain = {"text": "a < b, c > d, and so on."}
    marks = Marks(ControlTexts(ByteVocabulary()))
    assert marks.hide(plain) == plain
    assert marks.hide(variables) != variables
