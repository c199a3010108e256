"""Log probabilities as OpenAI's two kinds of completion show them."""

import codecs
from collections.abc import Sequence
from typing import Any

from edged.runner.protocol import TokenLogprob

Entries = Sequence[TokenLogprob]


def chat_logprobs(entries: Entries, _offset: int) -> dict[str, Any]:
    """Of a chat completion."""
    content = [
        _shown(entry.piece, entry.logprob) | {"top_logprobs": [_shown(*each) for each in entry.top]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def text_logprobs(entries: Entries, offset: int) -> dict[str, Any]:
    """Of a text completion; `offset` characters came before."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(decode(entry.piece))
    return {
        "tokens": [_text(entry.piece) for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{_text(piece): logprob for piece, logprob in entry.top} for entry in entries],
        "text_offset": offsets,
    }


def _shown(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _text(piece), "logprob": logprob, "bytes": list(piece)}


def _text(piece: bytes) -> str:
    """A token's text; a part of a character has none, and is written as OpenAI does."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
