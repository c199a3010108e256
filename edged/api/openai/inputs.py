"""Texts and token lists, as `input` and `prompt` may give them."""

from typing import Any, TypeGuard

from edged.errors import InvalidRequest

_MAX_INPUTS = 2048
_MAX_TOKEN = 2**31 - 1  # the vocabulary's real end is the runner's to know

Texts = tuple[str, ...]
TokenLists = tuple[tuple[int, ...], ...]


def parse_input(value: Any) -> tuple[Texts, TokenLists]:
    """A string, a list of strings, a token list or a list of token lists. Raises InvalidRequest."""
    if isinstance(value, str):
        return (_text(value, "input"),), ()
    if is_token_list(value):
        return (), (token_list(value, "input", "input"),)
    if not isinstance(value, list) or not value:
        raise InvalidRequest(
            "input: is neither a string, a list of strings, a list of tokens nor a list of these", "input"
        )
    if len(value) > _MAX_INPUTS:
        raise InvalidRequest(
            f"input: {len(value)} inputs, at most {_MAX_INPUTS} are accepted; send several requests", "input"
        )
    if isinstance(value[0], str):
        return tuple(_text(item, f"input[{index}]") for index, item in enumerate(value)), ()
    return (), tuple(token_list(item, f"input[{index}]", "input") for index, item in enumerate(value))


def is_token_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a value is meant as one list of tokens."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], int)


def token_list(value: Any, path: str, param: str) -> tuple[int, ...]:
    """Tokens, checked as far as that is possible without the vocabulary. Raises InvalidRequest."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{path}: is not a list of at least one token", param)
    for index, token in enumerate(value):
        if type(token) is not int:  # a bool is an int, but not a token
            raise InvalidRequest(f"{path}[{index}]: is not a token (a whole number)", param)
        if not 0 <= token <= _MAX_TOKEN:
            raise InvalidRequest(f"{path}[{index}]: is outside every vocabulary", param)
    return tuple(value)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}: is not a string, as the first input is", "input")
    if not value:
        raise InvalidRequest(f"{path}: is empty; send at least one character", "input")
    return value
