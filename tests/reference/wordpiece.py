"""BERT's tokenizer after its published description.

It lower-cases letter by letter, as the `tokenizers` library does that sentence-transformers uses: over a
whole word, Python's `str.lower` would write a last Greek sigma differently.
"""

import unicodedata
from collections.abc import Iterator, Sequence

_MAX_WORD_CHARACTERS = 100
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Lower-casing, accent-stripping WordPiece over one vocabulary."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {token: index for index, token in enumerate(vocabulary)}
        self._unknown = self._ids["[UNK]"]

    def encode(self, text: str) -> list[int]:
        """Ids with [CLS] before and [SEP] after."""
        ids = [self._ids["[CLS]"]]
        for word in words(text):
            ids += self._pieces(word)
        return [*ids, self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        """The longest token first, again and again; a word that cannot be spelt is unknown as a whole."""
        if len(word) > _MAX_WORD_CHARACTERS:
            return [self._unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._ids), None)
            if end is None:
                return [self._unknown]
            pieces.append(self._ids[mark + word[start:end]])
            start = end
        return pieces


def words(text: str) -> Iterator[str]:
    """Words and punctuation marks, normalised."""
    for word in _spaced(text).split():
        plain = unicodedata.normalize("NFD", "".join(letter.lower() for letter in word))
        yield from _split("".join(letter for letter in plain if unicodedata.category(letter) != "Mn"))


def _spaced(text: str) -> str:
    """Without control characters, every Chinese character a word of its own."""
    out = []
    for letter in text:
        if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
            out.append(" ")
        elif letter in "\0\ufffd" or unicodedata.category(letter).startswith("C"):
            continue
        elif any(first <= ord(letter) <= last for first, last in _CHINESE):
            out.append(f" {letter} ")
        else:
            out.append(letter)
    return "".join(out)


def _split(word: str) -> Iterator[str]:
    current = ""
    for letter in word:
        if not _is_punctuation(letter):
            current += letter
            continue
        if current:
            yield current
        current = ""
        yield letter
    if current:
        yield current


def _is_punctuation(letter: str) -> bool:
    """Unicode's punctuation, and all of ASCII that is neither letter, digit nor space ($, ^, `, ...)."""
    if letter.isascii():
        return letter.isprintable() and not letter.isalnum() and letter != " "
    return unicodedata.category(letter).startswith("P")
