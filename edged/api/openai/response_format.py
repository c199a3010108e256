"""What an answer must look like, as OpenAI's clients say it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.generation.order import Schema
from edged.api.json_schema import grammar_of
from edged.errors import InvalidRequest

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_\-]{1,64}$", description="Changes nothing.")]
Harmless = Annotated[str | None, Meta(description="Changes nothing.")]
JsonSchema = Annotated[Any, Meta(description="A JSON Schema, as an object or true.")]
FormatType = Annotated[
    Literal["text", "json_object", "json_schema"], Meta(description="json_object is any JSON object.")
]

ANY_OBJECT: dict[str, Any] = {"type": "object"}


class JsonSchemaFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's `json_schema`. It is always held to, `strict` or not; name and description change nothing."""

    schema: JsonSchema
    name: Name | None = None
    description: Harmless = None
    strict: Annotated[bool | None, Meta(description="Changes nothing: it is held to anyway.")] = None


class ResponseFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    """`response_format`; a `schema` beside json_object is llama.cpp's way to give one."""

    type: FormatType
    json_schema: Annotated[JsonSchemaFormat | None, Meta(description="Of type json_schema.")] = None
    schema: Annotated[
        dict[str, Any] | None, Meta(description="Of type json_object: a schema after all (llama.cpp's).")
    ] = None


def schema_of(wanted: ResponseFormat | None) -> Schema | None:
    """The schema that a format asks for. Raises InvalidRequest."""
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
        return (ANY_OBJECT, path) if wanted.schema is None else (wanted.schema, f"{path}.schema")
    if wanted.json_schema is None:
        raise InvalidRequest(f"{path}.json_schema: is missing", f"{path}.json_schema")
    return wanted.json_schema.schema, f"{path}.json_schema.schema"


def given(schema: Any) -> Schema | None:
    """The field `json_schema`, which llama.cpp has beside OpenAI's."""
    return None if schema is None else (schema, "json_schema")


def only(written: str | None, *wanted: Schema | None) -> Schema | None:
    """The one schema that is asked for, if no grammar is written out. Raises InvalidRequest."""
    asked = [each for each in wanted if each is not None]
    if len(asked) > 1 or (asked and written is not None):
        raise InvalidRequest(
            "response_format: only one of response_format, json_schema and grammar can shape an answer",
            asked[0][1].split(".")[0],
        )
    return asked[0] if asked else None


def grammar(written: str | None, wanted: Schema | None) -> str | None:
    """The one grammar that is asked for: written out, or by a schema. Raises InvalidRequest."""
    schema = only(written, wanted)
    return written if schema is None else grammar_of(*schema)
