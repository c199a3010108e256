"""Texts and token lists, as `input` and `prompt` may give them."""

from typing import Annotated, cast

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
    kinds = set(map(type, value))
    if len(kinds) > 1:
        raise InvalidRequest(f"{param}: mixes texts, tokens and lists of tokens; send one kind", param)
    if kinds == {int}:
        return (), (tuple(cast(list[int], value)),)
    if len(value) > _MAX_INPUTS:
        raise InvalidRequest(
            f"{param}: {len(value)} inputs, at most {_MAX_INPUTS} are accepted; send several requests", param
        )
    if kinds == {str}:
        return tuple(cast(list[str], value)), ()
    return (), tuple(map(tuple, cast(list[list[int]], value)))
