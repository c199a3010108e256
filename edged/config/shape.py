"""What the schema's annotations allow, in one small form that both the reader and the JSON Schema use.

msgspec's own decoder stops at the first problem and takes no unions with `Bytes`, so the annotations are
read here directly.
"""

import functools
import types
import typing
from typing import Annotated, Any, Literal, Union

import msgspec

from edged.config.schema import Bytes, Seconds


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a value may be: one of `words`, or a value of `base` (None: only words) within the limits."""

    base: Any = None  # int, str, bool, Bytes, Seconds, tuple (of item), dict (str to item) or a Struct class
    words: tuple[str, ...] = ()
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    pattern: str | None = None
    secret: bool = False  # never show a value of this field
    description: str = ""
    key: "Shape | None" = None
    item: "Shape | None" = None

    @property
    def is_struct(self) -> bool:
        """Whether values are mappings with the fields of a msgspec struct."""
        return isinstance(self.base, type) and issubclass(self.base, msgspec.Struct)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a section."""

    name: str
    shape: Shape
    required: bool
    default: Any = None


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> dict[str, Field]:
    """The keys of a section in the order of the schema."""
    return {
        info.name: Field(
            name=info.name, shape=shape_of(info.type), required=info.required, default=_default(info)
        )
        for info in msgspec.structs.fields(struct)
    }


def shape_of(annotation: Any) -> Shape:
    """The shape of a type annotation of `schema.py`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        shape = shape_of(arguments[0])
        for meta in arguments[1:]:
            shape = _with_meta(shape, meta)
        return shape
    if origin is Literal:
        return Shape(words=arguments)
    if origin in (Union, types.UnionType):
        members = [shape_of(argument) for argument in arguments]
        valued = [member for member in members if member.base is not None]
        assert len(valued) <= 1, f"ambiguous union: {annotation}"
        words = tuple(word for member in members for word in member.words)
        return msgspec.structs.replace(valued[0] if valued else Shape(), words=words)
    if origin is tuple:
        return Shape(base=tuple, item=shape_of(arguments[0]))
    if origin is dict:
        return Shape(base=dict, key=shape_of(arguments[0]), item=shape_of(arguments[1]))
    assert annotation in (int, str, bool, Bytes, Seconds) or issubclass(annotation, msgspec.Struct), (
        annotation
    )
    return Shape(base=annotation)


def _default(info: msgspec.structs.FieldInfo) -> Any:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default is msgspec.NODEFAULT else info.default


def _with_meta(shape: Shape, meta: msgspec.Meta) -> Shape:
    extra = meta.extra or {}
    found = {
        "ge": meta.ge if meta.ge is not None else extra.get("ge"),
        "le": meta.le if meta.le is not None else extra.get("le"),
        "min_length": meta.min_length,
        "pattern": meta.pattern,
        "description": meta.description,
        "secret": extra.get("secret"),
    }
    return msgspec.structs.replace(
        shape, **{name: value for name, value in found.items() if value is not None}
    )
