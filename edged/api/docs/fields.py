"""What becomes of every field of an endpoint's request, for people to read."""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct, inspect, json
from msgspec.structs import replace

from edged.api.auth import scopes_of
from edged.api.endpoint import Endpoint

Fate = Literal["honoured", "no effect", "refused"]
_NOT_HONOURED: dict[str, Fate] = {"Changes nothing": "no effect", "Refused": "refused"}


class Field(Struct, frozen=True, kw_only=True):
    """One field, by its path in the body: `messages[].content`."""

    name: str
    values: str
    fate: Fate
    text: str
    required: bool = False


def fields_of(endpoint: Endpoint) -> list[Field]:
    """Of the body or the URL: those that are honoured as they are declared, then the others by name."""
    struct = endpoint.request or endpoint.query
    found = [] if struct is None else list(_honoured(inspect.type_info(struct), "", ()))
    by_name: dict[str, Field] = {}
    for field in found:
        by_name[field.name] = _together(by_name.get(field.name, field), field)
    harmless = [
        Field(name=name, values="any JSON", fate="no effect", text=why)
        for name, why in sorted(endpoint.harmless.items())
    ]
    refused = [
        Field(name=name, values=_off(each.off), fate="refused", text=each.reason)
        for name, each in sorted(endpoint.refused.items())
    ]
    return [*by_name.values(), *harmless, *refused]


def answers(endpoint: Endpoint) -> str:
    """Who may ask, and what comes back where nothing goes wrong."""
    kinds = [endpoint.media_type, *([endpoint.stream_type] if endpoint.stream is not None else [])]
    given = f"Answers {endpoint.status}, {' or '.join(dict.fromkeys(kinds))}."
    scopes = " or ".join(scopes_of(endpoint.method, endpoint.path))
    return f"{given} A key needs the scope {scopes}." if scopes else f"{given} No key is needed."


def _together(one: Field, other: Field) -> Field:
    """A field that several options of a union have."""
    values = " or ".join(dict.fromkeys([one.values, other.values]))
    return replace(one, values=values, text=one.text or other.text, required=one.required and other.required)


def _honoured(kind: inspect.Type, path: str, within: tuple[type, ...]) -> Iterator[Field]:
    match kind:
        case inspect.Metadata():
            yield from _honoured(kind.type, path, within)
        case inspect.UnionType():
            for option in kind.types:
                yield from _honoured(option, path, within)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _honoured(kind.item_type, f"{path}[]", within)
        case inspect.DictType():
            yield from _honoured(kind.value_type, f"{path}.*", within)
        case inspect.StructType() if kind.cls not in within:
            yield from _of_struct(kind, path, (*within, kind.cls))


def _of_struct(kind: inspect.StructType, path: str, within: tuple[type, ...]) -> Iterator[Field]:
    if kind.tag_field is not None:
        tag = _written(kind.tag)
        yield Field(name=f"{path}.{kind.tag_field}", values=tag, fate="honoured", text="", required=True)
    for field in kind.fields:
        name = f"{path}.{field.encode_name}".removeprefix(".")
        fate, text = _told(_description(field.type))
        required = field.required or _is_needed(field.type)
        yield Field(name=name, values=_words(field.type), fate=fate, text=text, required=required)
        yield from _honoured(field.type, name, within)


def _told(description: str) -> tuple[Fate, str]:
    """Where a field within a struct is not honoured, its description begins with that."""
    for beginning, fate in _NOT_HONOURED.items():
        if description.startswith(beginning):
            return fate, description.removeprefix(beginning).lstrip(" ,:").removeprefix(".")
    return "honoured", description


def _description(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        given: dict[str, Any] = kind.extra_json_schema or {}
        return str(given.get("description", "")) or _description(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(_description, kind.types)), "")
    return ""


def _is_needed(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return "x-needed" in (kind.extra_json_schema or {}) or _is_needed(kind.type)
    return isinstance(kind, inspect.UnionType) and any(map(_is_needed, kind.types))


def _words(kind: inspect.Type) -> str:
    """What values a type has: `integer, 1 to 128`."""
    match kind:
        case inspect.Metadata():
            return _words(kind.type)
        case inspect.UnionType():
            options = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            return " or ".join(dict.fromkeys(map(_words, options)))
        case inspect.LiteralType():
            return " or ".join(map(_written, kind.values))
        case inspect.IntType() | inspect.FloatType():
            name = "integer" if isinstance(kind, inspect.IntType) else "number"
            return name + _range(kind.ge, kind.le)
        case inspect.StrType():
            return "string"
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType() | inspect.VarTupleType():
            return f"array of {_words(kind.item_type)}"
        case inspect.StructType() | inspect.DictType():
            return "object"
        case inspect.NoneType():
            return "null"
        case _:
            return "any JSON"


def _range(least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return ""
    if most is None or most >= 2**31 - 1:
        return "" if least is None or least < -(2**31) else f", from {least:g}"
    return f", up to {most:g}" if least is None else f", {least:g} to {most:g}"


def _off(values: tuple[Any, ...]) -> str:
    return " or ".join(["null", *map(_written, values)])


def _written(value: Any) -> str:
    return json.encode(value).decode()
