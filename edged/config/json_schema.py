"""The configuration's JSON Schema (draft 2020-12, in terms that draft 7 shares), for editors."""

from typing import Any

import msgspec

from edged.config import units
from edged.config.schema import Bytes, Config, Seconds
from edged.config.shape import Shape, fields_of


def json_schema() -> dict[str, Any]:
    """The schema of a whole file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edged configuration",
        **_schema(Shape(base=Config)),
    }


def _schema(shape: Shape) -> dict[str, Any]:
    valued = None if shape.base is None else _valued(shape)
    words = {"enum": list(shape.words)} if shape.words else None
    found = [part for part in (valued, words) if part is not None]
    schema = found[0] if len(found) == 1 else {"anyOf": found}
    return {"description": shape.description, **schema} if shape.description else schema


def _valued(shape: Shape) -> dict[str, Any]:
    if shape.is_struct:
        return _section(shape.base)
    if shape.base is dict:
        assert shape.key is not None
        assert shape.item is not None
        return {
            "type": ["object", "null"],
            "propertyNames": {"pattern": shape.key.pattern},
            "additionalProperties": _schema(shape.item),
        }
    if shape.base is tuple:
        assert shape.item is not None
        return {"type": ["array", "null"], "items": _schema(shape.item)}
    if shape.base is Bytes:
        return {"type": ["integer", "string"], "minimum": 0, "pattern": units.SIZE_TEXT_PATTERN}
    if shape.base is Seconds:
        return {"type": "string", "pattern": units.TIME_PATTERN}
    if shape.base is bool:
        return {"type": "boolean"}
    if shape.base is int:
        limits = {"minimum": shape.ge, "maximum": shape.le}
        return {"type": "integer", **{name: limit for name, limit in limits.items() if limit is not None}}
    length = {"minLength": shape.min_length} if shape.min_length else {}
    return {"type": "string", **length}


def _section(struct: type[msgspec.Struct]) -> dict[str, Any]:
    fields = fields_of(struct).values()
    properties = {}
    for field in fields:
        properties[field.name] = _schema(field.shape)
        if not field.required and not field.shape.is_struct and field.shape.base is not dict:
            properties[field.name]["default"] = units.written(field.default)
    required = [field.name for field in fields if field.required]
    return {
        # An empty section (every key commented out) is null to a YAML reader.
        "type": "object" if required else ["object", "null"],
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": properties,
    }
