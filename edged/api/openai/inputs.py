"""Texts and token lists, as `input` and `prompt` may give them."""

from typing import Annotated

from msgspec import Meta

from edged.errors import InvalidRequest

_MAX_INPUTS = 2048

Text = Annotated[str, Meta(min_length=1)]
# The vocabulary's real end is the runner's to know.
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Meta(min_length=1)]
Input = Text | Annotated[list[Text | Token | Tokens], Meta(min_length=1)]

Texts = tuple[str, ...]
TokenLists = tuple[tuple[int, ...], ...]


def inputs_of(value: Input, param: str) -> tuple[Texts, TokenLists]:
    """A text, a list of texts, a list of tokens or a list of such lists. Raises InvalidRequest."""
    if isinstance(value, str):
        return (value,), ()
    texts = tuple(each for each in value if isinstance(each, str))
    tokens = tuple(each for each in value if isinstance(each, int))
    token_lists = (tokens,) if tokens else tuple(tuple(each) for each in value if isinstance(each, list))
    if len(value) not in (len(texts), len(tokens), len(token_lists)):
        raise InvalidRequest(f"{param}: mixes texts, tokens and lists of tokens; send one kind", param)
    if len(texts) + len(token_lists) > _MAX_INPUTS:
        raise InvalidRequest(
            f"{param}: {len(value)} inputs, at most {_MAX_INPUTS} are accepted; send several requests", param
        )
    return texts, token_lists
