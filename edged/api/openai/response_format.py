"""`response_format`, and llama.cpp's `json_schema`: both become a grammar."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edged.api.body import Fields, convert, take
from edged.api.json_schema import grammar_of
from edged.errors import InvalidRequest
from edged.runner import protocol

_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_\-]{1,64}$")]


class JsonSchemaFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's `json_schema`. It is always held to, `strict` or not; name and description change nothing."""

    schema: Any
    name: _Name | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    """`response_format`; a `schema` beside json_object is llama.cpp's way to give one."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None
    schema: dict[str, Any] | None = None


class ChatFormatFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the answer must look like."""

    response_format: ResponseFormat | None = None
    json_schema: Any = None


class TextFormatFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """The same for text completions, where OpenAI has no such field."""

    json_schema: Any = None


def take_chat_format(fields: Fields, sampling: protocol.Sampling) -> protocol.Sampling:
    """`sampling` with the grammar that the format asks for, its fields removed. Raises InvalidRequest."""
    wanted = convert(take(fields, ChatFormatFields.__struct_fields__), ChatFormatFields)
    asked = [_of_format(wanted.response_format), _given(wanted.json_schema, "json_schema")]
    return _held(sampling, [each for each in asked if each is not None])


def take_text_format(fields: Fields, sampling: protocol.Sampling) -> protocol.Sampling:
    """The same for a text completion. Raises InvalidRequest."""
    wanted = convert(take(fields, TextFormatFields.__struct_fields__), TextFormatFields)
    asked = _given(wanted.json_schema, "json_schema")
    return _held(sampling, [] if asked is None else [asked])


def _of_format(wanted: ResponseFormat | None) -> tuple[Any, str] | None:
    """The schema of a format, and its path."""
    path = "response_format"
    if wanted is None:
        return None
    if wanted.json_schema is not None and wanted.type != "json_schema":
        raise InvalidRequest(f"{path}.json_schema: needs type: json_schema", f"{path}.json_schema")
    if wanted.schema is not None and wanted.type != "json_object":
        raise InvalidRequest(f"{path}.schema: belongs into {path}.json_schema", f"{path}.schema")
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ({"type": "object"}, path) if wanted.schema is None else (wanted.schema, f"{path}.schema")
    if wanted.json_schema is None:
        raise InvalidRequest(f"{path}.json_schema: is missing", f"{path}.json_schema")
    return wanted.json_schema.schema, f"{path}.json_schema.schema"


def _given(schema: Any, path: str) -> tuple[Any, str] | None:
    return None if schema is None else (schema, path)


def _held(sampling: protocol.Sampling, asked: list[tuple[Any, str]]) -> protocol.Sampling:
    if not asked:
        return sampling
    if len(asked) > 1 or sampling.grammar is not None:
        raise InvalidRequest(
            "response_format: only one of response_format, json_schema and grammar can shape an answer",
            asked[0][1].split(".")[0],
        )
    [(schema, path)] = asked
    return msgspec.structs.replace(sampling, grammar=grammar_of(schema, path))
