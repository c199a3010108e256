"""A query and a document as one input for a cross-encoder, in llama-server's order of tokens."""

import re
from collections.abc import Sequence
from typing import Protocol

from edged.runner.engine.hiding import ControlTexts, Marks, VocabularyLike

_PLACES = re.compile(r"\{(query|document)\}")


class PairVocabulary(VocabularyLike, Protocol):
    """What pairs need of a vocabulary."""

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Two texts with the tokens that belong around and between them."""


class Pairs:
    """How a model wants to be shown pairs: with its vocabulary's separators, or by a template of its file."""

    def __init__(self, vocabulary: PairVocabulary, template: str | None) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._controls = ControlTexts(vocabulary)

    def tokens(self, query: str, documents: Sequence[str]) -> list[list[int]]:
        """An input for each document; nothing in a query or document becomes a control token."""
        if self._template is not None:
            return [self._rendered(self._template, query, document) for document in documents]
        asked = self._plain(query)
        return [self._vocabulary.pair(asked, self._plain(document)) for document in documents]

    def _plain(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, add_special=False, parse_special=False)

    def _rendered(self, template: str, query: str, document: str) -> list[int]:
        marks = Marks(self._controls)
        texts = marks.hide({"query": query, "document": document})
        text = _PLACES.sub(lambda found: texts[found[1]], template)
        return marks.tokens(text, add_special=False)
