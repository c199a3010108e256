"""Schemas without references and combinations: as the alternatives that an instance may be, one type each.

Where a schema leaves open what JSON allows (no `type`, no `additionalProperties`), the narrower reading is
taken: what is generated fulfils the wider one as well.
"""

import json
from typing import Any

from edged.api.json_schema.keywords import (
    COMBINED,
    OF_TYPE,
    Schema,
    assertions,
    refused,
    step,
    target,
    type_of,
)
from edged.api.json_schema.work import Work
from edged.errors import InvalidRequest

Alternative = dict[str, Any]  # {"enum": [...]}, or one "type" (or "any") and the assertions for that type

MAX_ALTERNATIVES = 200
_MAX_REFERENCES = 32
_SMALLER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LARGER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_OBJECT_PARTS = ("properties", "patternProperties", "additionalProperties")
_ARRAY_PARTS = ("prefixItems", "items")


class Normal:
    """A document, whose references are followed, and what may be spent on combining."""

    def __init__(self, document: Any, path: str, work: Work) -> None:
        self._document = document
        self._path = path
        self._work = work
        self._constants_of: dict[
            int, tuple[Any, dict[str, Any]]
        ] = {}  # with what it is: an id can come again

    def alternatives(self, schema: Any, path: str) -> list[Alternative]:
        """What an instance may be; empty: there is none. Raises InvalidRequest."""
        by_text: dict[str, Alternative] = {}
        for single in (single for one in self._flat(schema, path, ()) for single in _by_type(one, path)):
            text = json.dumps(single)
            self._work.compare(text)
            by_text[text] = single
        found = list(by_text.values())
        if len(found) > MAX_ALTERNATIVES:
            raise refused(path, f"{len(found)} alternatives, at most {MAX_ALTERNATIVES} are accepted")
        return found

    def _flat(self, schema: Any, path: str, within: tuple[str, ...]) -> list[Schema]:
        """Alternatives without references and combinations. Raises InvalidRequest."""
        if isinstance(schema, bool):
            return [{}] if schema else []
        own = assertions(schema, path)
        self._work.spend(_weight(own) + len(schema) // 16)
        found = [own]
        for factor in self._factors(schema, path, within):
            self._work.spend(sum(map(_weight, found)) * len(factor) + len(found) * sum(map(_weight, factor)))
            found = [
                both for one in found for other in factor if (both := merged(one, other, path)) is not None
            ]
        if schema.get("nullable") is True and "type" in schema and "enum" not in schema:
            found.append({"type": ["null"]})
        return found

    def _factors(self, schema: Schema, path: str, within: tuple[str, ...]) -> list[list[Schema]]:
        """Lists of alternatives, of each of which one must hold."""
        factors = []
        if "$ref" in schema:
            at = step(path, "$ref")
            pointer = schema["$ref"]
            found = target(self._document, pointer, at)
            if pointer in within or len(within) > _MAX_REFERENCES:
                raise refused(at, "refers to itself with nothing in between")
            where = self._path + pointer[1:].replace("/", ".")
            factors.append(self._flat(found, where, (*within, pointer)))
        for name in ("allOf", "anyOf", "oneOf"):
            if name not in schema:
                continue
            parts = schema[name]
            if not isinstance(parts, list) or not parts:
                raise InvalidRequest(f"{step(path, name)}: is not a list of at least one", step(path, name))
            flat = [self._flat(part, f"{path}.{name}[{at}]", within) for at, part in enumerate(parts)]
            if name == "oneOf":
                self._check_apart(flat, step(path, name))
            factors += flat if name == "allOf" else [[one for part in flat for one in part]]
        return factors

    def _check_apart(self, parts: list[list[Schema]], path: str) -> None:
        """Exactly one of them may hold: none may share an instance with another."""
        typed = [[single for one in part for single in _by_type(one, path)] for part in parts]
        for at, part in enumerate(typed):
            for other in range(at):
                self._work.spend(len(part) * len(typed[other]))
                if not all(self.apart(one, two) for one in part for two in typed[other]):
                    raise refused(
                        path,
                        f"an answer could fulfil both [{other}] and [{at}]; use anyOf, or give each a"
                        " required property with a const of its own",
                    )

    def apart(self, one: Alternative, other: Alternative) -> bool:
        """Whether it is plain that what is generated for one never fulfils the other."""
        if "enum" in one and "enum" in other:
            return bool(one["enum"].keys().isdisjoint(other["enum"]))
        if "enum" in one or "enum" in other:
            values, kind = (one["enum"], other) if "enum" in one else (other["enum"], one)
            return not any(_fits(type_of(value), [kind["type"]]) for value in values.values())
        if "any" in (one["type"], other["type"]):
            return False
        if one["type"] != other["type"]:
            return {one["type"], other["type"]} != {"integer", "number"}
        return one["type"] == "object" and self._objects_apart(one, other)

    def _objects_apart(self, one: Alternative, other: Alternative) -> bool:
        shared = set(one.get("required", ())) & set(other.get("required", ()))
        if any(self._values_apart(one, other, name) for name in shared):
            return True
        return _never_has(one, other) and _never_has(other, one)

    def _values_apart(self, one: Alternative, other: Alternative, name: str) -> bool:
        """Whether a property is bound to different constants."""
        self._work.spend(1)
        mine, theirs = self.constants(one, name), self.constants(other, name)
        return bool(mine and theirs) and mine.keys().isdisjoint(theirs)

    def constants(self, alternative: Alternative, name: str) -> dict[str, Any]:
        """The values of a property that is bound to some, also behind a reference; else empty."""
        schema = alternative.get("properties", {}).get(name, True)
        if id(schema) not in self._constants_of:
            self._constants_of[id(schema)] = (schema, self._constants(schema))
        return self._constants_of[id(schema)][1]

    def _constants(self, schema: Any) -> dict[str, Any]:
        for _ in range(_MAX_REFERENCES):
            if not isinstance(schema, dict):
                return {}
            if "$ref" not in schema:
                break
            schema = target(self._document, schema["$ref"], self._path)
        if any(name in schema for name in COMBINED):
            return {}
        found: dict[str, Any] = assertions(schema, self._path).get("enum", {})
        return found


def merged(one: Schema, other: Schema, path: str) -> Schema | None:
    """What fulfils both; None: nothing does. Raises Unsupported where that has no schema."""
    made = {**other, **one}
    for name in one.keys() & other.keys():
        mine, theirs = one[name], other[name]
        if name in _OBJECT_PARTS or name in _ARRAY_PARTS:
            continue
        if name in _SMALLER:
            made[name] = min(mine, theirs)
        elif name in _LARGER:
            made[name] = max(mine, theirs)
        elif name == "required":
            made[name] = list(dict.fromkeys([*mine, *theirs]))
        elif name == "propertyNames":
            made[name] = all_of([mine, theirs])
        elif name == "type":
            made[name] = _common_types(mine, theirs)
        elif name == "enum":
            made[name] = {key: value for key, value in mine.items() if key in theirs}
        elif mine != theirs:
            raise refused(path, f"two different {name} cannot be combined")
        if name in ("type", "enum") and not made[name]:
            return None
    if any(name in one for name in _OBJECT_PARTS) and any(name in other for name in _OBJECT_PARTS):
        if "patternProperties" in one or "patternProperties" in other:
            raise refused(
                step(path, "patternProperties"), "cannot be combined with other schemas' properties"
            )
        made.update(_merged_properties(one, other))
    if any(name in one for name in _ARRAY_PARTS) and any(name in other for name in _ARRAY_PARTS):
        made.update(_merged_items(one, other))
    return made


def _merged_items(one: Schema, other: Schema) -> Schema:
    """An item that is in one's prefix only is for the other one of the rest."""
    n_first = max(len(each.get("prefixItems", ())) for each in (one, other))
    made: Schema = {}
    if n_first:
        made["prefixItems"] = [all_of([_item(each, at) for each in (one, other)]) for at in range(n_first)]
    rest = [each["items"] for each in (one, other) if "items" in each]
    if rest:
        made["items"] = all_of(rest)
    return made


def _merged_properties(one: Schema, other: Schema) -> Schema:
    """A property of one only is for the other an additional one."""
    properties: Schema = {}
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    for name in dict.fromkeys([*mine, *theirs]):
        parts = [
            each[name] if name in each else whole.get("additionalProperties", True)
            for each, whole in ((mine, one), (theirs, other))
        ]
        properties[name] = all_of(parts)
    made: Schema = {"properties": properties}
    rest = [each["additionalProperties"] for each in (one, other) if "additionalProperties" in each]
    if rest:
        made["additionalProperties"] = all_of(rest)
    return made


def _item(schema: Schema, at: int) -> Any:
    first = schema.get("prefixItems", ())
    return first[at] if at < len(first) else schema.get("items", True)


def all_of(parts: list[Any]) -> Any:
    """One schema that says what all of them say."""
    if any(part is False for part in parts):
        return False
    parts = [part for part in parts if part is not True]
    return {"allOf": parts} if len(parts) > 1 else parts[0] if parts else True


def _common_types(one: list[str], other: list[str]) -> list[str]:
    found = [each for each in one if each in other]
    if ("integer" in one and "number" in other) or ("number" in one and "integer" in other):
        found += [] if "integer" in found or "number" in found else ["integer"]
    return found


def _by_type(flat: Schema, path: str) -> list[Alternative]:
    """One alternative for each type that a schema allows, with what is said about that type."""
    types = flat.get("type")
    if "enum" in flat:
        others = flat.keys() - {"enum", "type"}
        if others:
            raise refused(step(path, min(others)), "cannot be combined with enum or const; leave one out")
        values = {
            key: value for key, value in flat["enum"].items() if types is None or _fits(type_of(value), types)
        }
        return [{"enum": values}] if values else []
    if types is None:
        types = [kind for kind, names in OF_TYPE.items() if any(name in flat for name in names)]
    if "number" in types:
        types = [kind for kind in types if kind != "integer"]
    found = []
    for kind in dict.fromkeys(types):
        own = {name: flat[name] for name in OF_TYPE[kind] if name in flat}
        lacks = any(own.get("properties", {}).get(name) is False for name in own.get("required", ()))
        if not lacks:
            found.append({"type": kind, **own})
    return found if types else [{"type": "any"}]


def _fits(kind: str, types: list[str]) -> bool:
    return kind in types or "any" in types or (kind == "integer" and "number" in types)


def _never_has(one: Alternative, other: Alternative) -> bool:
    """Whether the other requires a property that is never generated for the one."""
    others = one.get("additionalProperties", False) is not False or one.get("patternProperties")
    if others or not one.get("properties"):
        return False
    return not set(other.get("required", ())) <= {*one["properties"], *one.get("required", ())}


def _weight(schema: Schema) -> int:
    """What it costs to look at a schema once."""
    sizes = (
        len(schema.get(name, ())) for name in ("properties", "patternProperties", "required", "prefixItems")
    )
    return 1 + sum(sizes) // 16 + sum(map(len, schema.get("enum", ()))) // 50
