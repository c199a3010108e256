"""Which keywords of JSON Schema are honoured, and what their values must be. Every other one is refused."""

import json
import re
from typing import Any
from urllib.parse import unquote

from edged.api.errors import Unsupported
from edged.errors import InvalidRequest

Schema = dict[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
OF_TYPE: dict[str, tuple[str, ...]] = {
    "object": (
        *("properties", "patternProperties", "additionalProperties", "propertyNames"),
        *("required", "minProperties", "maxProperties"),
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "boolean": (),
    "null": (),
}
COMBINED = ("$ref", "allOf", "anyOf", "oneOf", "nullable")
_ASSERTIONS = frozenset({"type", "enum", "const"}.union(*OF_TYPE.values()))
_COUNTS = ("minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength")
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "$anchor", "$defs", "definitions", "discriminator", "externalDocs"),
        *("contentMediaType", "contentEncoding"),
    }
)
_OFF = {"uniqueItems": False}  # what these say then holds anyway
_MAX_COUNT = 100_000
_MAX_NAME = 40
MAX_VALUES = 1000


def refused(path: str, why: str) -> Unsupported:
    """An error for a schema that cannot be held."""
    return Unsupported(f"{path}: {why}", path)


def step(path: str, name: str) -> str:
    """The path of a part that a client named."""
    shown = name.encode("ascii", "backslashreplace").decode()
    return f"{path}.{shown[:_MAX_NAME]}"


def assertions(schema: Any, path: str) -> Schema:
    """A schema's own checked assertions: not what it combines, nor what only describes.

    enum and const become one dict of values by their canonical texts. Raises InvalidRequest.
    """
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{path}: is neither a schema (an object) nor true or false", path)
    own: Schema = {}
    for name, value in schema.items():
        if name in _ASSERTIONS:
            _check(name, value, step(path, name))
            own[name] = value
        elif name in _OFF and value == _OFF[name]:
            continue
        elif name not in ANNOTATIONS and name not in COMBINED and not name.startswith("x-"):
            raise refused(step(path, name), "edged cannot hold this keyword; leave it out")
    if "enum" in own:
        own["enum"] = {canonical(value): value for value in own["enum"]}
    if "const" in own:
        value = own.pop("const")
        key = canonical(value)
        own["enum"] = {key: value} if key in own.get("enum", {key}) else {}
    if isinstance(own.get("type"), str):
        own["type"] = [own["type"]]
    return own


def canonical(value: Any) -> str:
    """A JSON value as a text that equal ones share: 1 and 1.0 are equal, 1 and true are not."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def type_of(value: Any) -> str:
    """A JSON value's type, a whole number's being integer."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    kinds = {str: "string", int: "integer", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def target(document: Any, reference: Any, path: str) -> Any:
    """What a `$ref` points to, inside the same document. Raises InvalidRequest."""
    if not isinstance(reference, str):
        raise InvalidRequest(f"{path}: is not a string", path)
    if reference != "#" and not reference.startswith("#/"):
        raise refused(path, "only references inside the schema (#/$defs/...) are followed")
    found = document
    for part in reference.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and re.fullmatch(r"\d{1,6}", name) and int(name) < len(found):
            found = found[int(name)]
        else:
            raise InvalidRequest(f"{path}: points to nothing", path)
    return found


def _check(name: str, value: Any, path: str) -> None:
    problem = None
    if name in _COUNTS:
        if type(value) is not int or value < 0:
            problem = "is not a whole number from 0"
        elif value > _MAX_COUNT:
            raise refused(path, f"is over {_MAX_COUNT}")
    elif name in _NUMERIC:
        if isinstance(value, bool) or not isinstance(value, int | float):
            problem = "is not a number"
    elif name in ("pattern", "format"):
        problem = None if isinstance(value, str) else "is not a string"
    elif name == "required":
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            problem = "is not a list of names"
    elif name in ("properties", "patternProperties"):
        problem = None if isinstance(value, dict) else "is not an object"
    elif name in ("enum", "prefixItems"):
        problem = None if isinstance(value, list) and value else "is not a list of at least one"
        if not problem and len(value) > MAX_VALUES:
            raise refused(path, f"{len(value)} of them, at most {MAX_VALUES} are accepted")
    elif name == "items" and isinstance(value, list):
        raise refused(path, "a list of schemas is now called prefixItems")
    elif name == "type":
        given = value if isinstance(value, list) else [value]
        if not 0 < len(given) <= len(TYPES) or not all(
            isinstance(each, str) and each in TYPES for each in given
        ):
            problem = f"is none of {', '.join(TYPES)}"
    if problem:
        raise InvalidRequest(f"{path}: {problem}", path)
