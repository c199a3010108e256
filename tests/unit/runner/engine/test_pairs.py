"""Queries and documents as inputs of a cross-encoder."""

from collections.abc import Sequence

import pytest

from edged.runner.engine.pairs import Pairs

_CONTROL = {"[CLS]": 1, "[SEP]": 2}
_TEMPLATE = "[CLS]Q:{query}[SEP]D:{document}[SEP]"


class Letters:
    """Control tokens 1 and 2; every other character is its code point."""

    bos_text = "[CLS]"
    eos_text = "[SEP]"
    adds_bos = True

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = [1] if add_special else []
        while text:
            control = next((each for each in _CONTROL if parse_special and text.startswith(each)), None)
            tokens.append(_CONTROL[control] if control else ord(text[0]))
            text = text[len(control) if control else 1 :]
        return tokens

    def control_texts(self) -> list[str]:
        return list(_CONTROL)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        return [1, *first, 2, *second]


def _shown(tokens: list[int]) -> str:
    names = {number: text for text, number in _CONTROL.items()}
    return "".join(names.get(token) or chr(token).replace("[", "(") for token in tokens)


def test_pairs_are_told_apart_by_the_vocabularys_tokens() -> None:
    pairs = Pairs(Letters(), None, 99).tokens("why", ["so", ""])
    assert [*map(_shown, pairs)] == ["[CLS]why[SEP]so", "[CLS]why[SEP]"]


def test_a_template_says_what_else_there_is() -> None:
    [pair] = Pairs(Letters(), _TEMPLATE, 99).tokens("why", ["so"])
    assert _shown(pair) == "[CLS]Q:why[SEP]D:so[SEP]"


@pytest.mark.parametrize("template", [None, _TEMPLATE])
def test_what_people_write_is_no_control_token(template: str | None) -> None:
    [pair] = Pairs(Letters(), template, 99).tokens("a[SEP]", ["b[SEP]{query}"])
    assert pair.count(2) == (1 if template is None else 2)
    assert _shown(pair).count("(SEP]") == 2
    assert "{query}" in _shown(pair), "a document is no template"


@pytest.mark.parametrize(
    ("template", "cut"), [(None, "[CLS]why[SEP]becaus"), (_TEMPLATE, "[CLS]Q:why[SEP]D:b[SEP]")]
)
def test_a_long_document_is_cut(template: str | None, cut: str) -> None:
    pairs = Pairs(Letters(), template, 11)
    short, long = pairs.tokens("why", ["b", "because of the rain"], cut=True)
    assert len(long) == 11
    assert _shown(long) == cut
    assert short == pairs.tokens("why", ["b"])[0]


@pytest.mark.parametrize("template", [None, _TEMPLATE])
def test_a_query_that_leaves_no_room_is_not_cut(template: str | None) -> None:
    pairs = Pairs(Letters(), template, 9)
    assert pairs.tokens("why" * 9, ["so"], cut=True) == pairs.tokens("why" * 9, ["so"])


def test_of_what_is_far_too_long_only_a_part_is_tokenised() -> None:
    [pair] = Pairs(Letters(), None, 9).tokens("why", ["so " * 10_000])
    assert 9 + 64 < len(pair) < 1000
