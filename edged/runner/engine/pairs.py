"""A query and a document as one input for a cross-encoder, in llama-server's order of tokens."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from edged.runner.engine.hiding import ControlTexts, Marks, VocabularyLike
from edged.runner.engine.room import first_tokens

_PLACES = re.compile(r"\{(query|document)\}")
_DOCUMENT = "{document}"


class PairVocabulary(VocabularyLike, Protocol):
    """What pairs need of a vocabulary."""

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Two texts with the tokens that belong around and between them."""


class Pairs:
    """How a model wants to be shown pairs: with its vocabulary's separators, or by a template of its file."""

    def __init__(self, vocabulary: PairVocabulary, template: str | None, n_ctx: int) -> None:
        self._vocabulary = vocabulary
        self._n_ctx = n_ctx
        self._template = template
        self._controls = ControlTexts(vocabulary)

    def tokens(self, query: str, documents: Sequence[str], *, cut: bool = False) -> list[list[int]]:
        """An input for each document; nothing in a query or document becomes a control token.

        A document that makes it longer than the context is `cut`, where the query leaves any room for it.
        Of what is far too long only so much is tokenised that it still is.
        """
        most = self._n_ctx if cut else None
        if self._template is not None:
            return [self._rendered(self._template, query, document, most) for document in documents]
        asked = self._plain(query)
        n_others = len(self._vocabulary.pair(asked, ()))
        room = None if most is None or n_others >= most else most - n_others
        return [self._vocabulary.pair(asked, self._plain(document)[:room]) for document in documents]

    def _plain(self, text: str) -> list[int]:
        tokenize = partial(self._vocabulary.tokenize, add_special=False, parse_special=False)
        return first_tokens(text, self._n_ctx, tokenize)

    def _rendered(self, template: str, query: str, document: str, most: int | None) -> list[int]:
        marks = Marks(self._controls)
        texts = marks.hide({"query": query, "document": document})

        def of(part: str) -> list[int]:
            text = _PLACES.sub(lambda found: texts[found[1]], part)
            return marks.tokens(text, add_special=False)

        whole = of(template)
        if most is None or len(whole) <= most:
            return whole
        before, _, after = template.rpartition(_DOCUMENT)
        begin, end = of(before), of(after)
        room = most - len(begin) - len(end)
        return [*begin, *of(_DOCUMENT)[:room], *end] if room > 0 else whole
