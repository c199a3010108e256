"""Log probabilities as OpenAI's two kinds of completion show them."""

import codecs
from collections.abc import Sequence

from msgspec import Struct

from edged.runner.protocol import TokenLogprob

Entries = Sequence[TokenLogprob]


class Likely(Struct, frozen=True, kw_only=True):
    """A token that was likely."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class Chosen(Struct, frozen=True, kw_only=True):
    """A token of the answer, and the likeliest in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[Likely, ...]


class ChatLogprobs(Struct, frozen=True, kw_only=True):
    """Of a chat completion."""

    content: tuple[Chosen, ...]
    refusal: None = None


class TextLogprobs(Struct, frozen=True, kw_only=True):
    """Of a text completion: lists with an entry for each token."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]
    text_offset: tuple[int, ...]


def chosen(entries: Entries) -> tuple[Chosen, ...]:
    """The tokens of an answer."""
    return tuple(
        Chosen(
            token=_text(entry.piece),
            logprob=entry.logprob,
            bytes=tuple(entry.piece),
            top_logprobs=tuple(
                Likely(token=_text(piece), logprob=logprob, bytes=tuple(piece))
                for piece, logprob in entry.top
            ),
        )
        for entry in entries
    )


def text_logprobs(entries: Entries, offset: int) -> TextLogprobs:
    """Of tokens before which `offset` characters came."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(decode(entry.piece))
    return TextLogprobs(
        tokens=tuple(_text(entry.piece) for entry in entries),
        token_logprobs=tuple(entry.logprob for entry in entries),
        top_logprobs=tuple({_text(piece): logprob for piece, logprob in entry.top} for entry in entries),
        text_offset=tuple(offsets),
    )


def _text(piece: bytes) -> str:
    """A token's text; a part of a character has none, and is written as OpenAI does."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
