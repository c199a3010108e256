"""JSON Schemas of what endpoints take and give, by msgspec, in the names of an OpenAPI document."""

from collections.abc import Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from edged.api.endpoint import Endpoint

Json = dict[str, Any]

_AT = "#/components/schemas/"
_OWN = "edged."  # msgspec writes the module before a name that two types have


class Schemas:
    """The schemas of all endpoints' types; a request's stands with its endpoint."""

    def __init__(self, endpoints: Iterable[Endpoint], more: Iterable[Any] = ()) -> None:
        kinds = list(dict.fromkeys([*more, *(kind for each in endpoints for kind in _kinds(each))]))
        found, components = msgspec.json.schema_components(kinds, ref_template=_AT + "{name}")
        self._of = {kind: _tidy(schema) for kind, schema in zip(kinds, found, strict=True)}
        self._components: Json = {_short(name): _tidy(schema) for name, schema in components.items()}
        self._used: set[str] = set()

    def of(self, kind: Any) -> Json:
        """The schema of a type, which most often is a reference."""
        schema: Json = self._of[kind]
        self._use(schema)
        return schema

    def fields_of(self, kind: Any) -> Json:
        """The schema of a struct itself."""
        schema: Json = self._components[self._of[kind]["$ref"].removeprefix(_AT)]
        self._use(schema)
        return schema

    @property
    def components(self) -> Json:
        """All that has been referred to, and what that refers to."""
        return {name: schema for name, schema in sorted(self._components.items()) if name in self._used}

    def _use(self, schema: Json) -> None:
        for name in _references(schema):
            if name not in self._used:
                self._used.add(name)
                self._use(self._components[name])


def request_schema(endpoint: Endpoint, schemas: Schemas) -> Json:
    """The body. Of fields that are refused it has the values that ask for nothing."""
    fields = schemas.fields_of(endpoint.request)
    harmless = {
        name: {"description": f"Accepted without effect: {why}"} for name, why in endpoint.harmless.items()
    }
    refused = {
        name: {"description": f"Refused: {each.reason}", "enum": [None, *each.off]}
        for name, each in endpoint.refused.items()
    }
    return {**fields, "properties": {**fields["properties"], **harmless, **refused}}


def streamed_kinds(endpoint: Endpoint) -> tuple[Any, ...]:
    """The types of a stream's events, one by one: msgspec knows no union of structs without tags."""
    if endpoint.stream is None:
        return ()
    is_union = get_origin(endpoint.stream) in (Union, UnionType)
    return get_args(endpoint.stream) if is_union else (endpoint.stream,)


def _kinds(endpoint: Endpoint) -> Iterable[Any]:
    given = (endpoint.request, endpoint.query, endpoint.answer, *streamed_kinds(endpoint))
    return (kind for kind in (*given, *endpoint.otherwise.values()) if kind is not None)


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.removeprefix(_AT)
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _tidy(node: Any) -> Any:
    """Without defaults of null, and with an optional field's description where readers look for it."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied = {key: _tidy(value) for key, value in node.items() if (key, value) != ("default", None)}
    if isinstance(tidied.get("properties"), dict):
        _require(tidied)
    if isinstance(tidied.get("$ref"), str):
        tidied["$ref"] = _AT + _short(tidied["$ref"].removeprefix(_AT))
    for option in tidied.get("anyOf", ()):
        if isinstance(option, dict) and "description" in option and "description" not in tidied:
            tidied = {"description": option.pop("description"), **tidied}
    if isinstance(tidied.get("discriminator"), dict):
        del tidied["discriminator"]  # its mapping repeats what each option's own tag says
    return tidied


def _require(struct: Json) -> None:
    """Fields that are marked as needed are required, and never null."""
    for name, schema in struct["properties"].items():
        schema.pop("x-needed", None)  # it has no other option
        for option in schema.get("anyOf", ()):
            if option.pop("x-needed", False):
                struct["properties"][name] = {**schema, **option}
                del struct["properties"][name]["anyOf"]
                struct["required"] = [*struct["required"], name]


def _short(name: str) -> str:
    return name.removeprefix(_OWN).removeprefix("api.")
