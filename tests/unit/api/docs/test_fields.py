"""What is said of each field."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edged.api.docs.fields import Field, fields_of
from edged.api.endpoint import Endpoint, Refused


class Text(Struct, tag_field="type", tag="text", kw_only=True):
    text: str


class Image(Struct, tag_field="type", tag="image", kw_only=True):
    url: str


class Part(Struct, kw_only=True):
    role: Literal["user", "system"]
    content: str | list[Text | Image] | None = None
    parts: list["Part"] | None = None
    picture: Annotated[Any, Meta(description="Refused: models read text only.")] = None
    parsed: Annotated[Any, Meta(description="Changes nothing.")] = None


class Asked(Struct, kw_only=True, forbid_unknown_fields=True):
    model: Annotated[str, Meta(description="Which.")]
    n: Annotated[int, Meta(ge=1, le=128, description="How many.")] | None = None
    warmth: Annotated[float, Meta(ge=0)] = 0.5
    messages: list[Part] | None = None
    biases: dict[str, Part] | None = None
    schema: Any = None


ENDPOINT = Endpoint(
    method="POST",
    path="/v1/things",
    family="openai",
    summary="Things.",
    request=Asked,
    harmless={"user": "nobody is told."},
    refused={"audio": Refused("there is none.", off=(False, "off"))},
)


def rows() -> dict[str, Field]:
    return {field.name: field for field in fields_of(ENDPOINT)}


def test_every_field_is_there_with_those_within() -> None:
    assert list(rows()) == [
        *("model", "n", "warmth", "messages", "messages[].role", "messages[].content"),
        *("messages[].content[].type", "messages[].content[].text", "messages[].content[].url"),
        *("messages[].parts", "messages[].picture", "messages[].parsed"),
        *("biases", "biases.*.role", "biases.*.content"),
        *("biases.*.content[].type", "biases.*.content[].text", "biases.*.content[].url"),
        *("biases.*.parts", "biases.*.picture", "biases.*.parsed"),
        *("schema", "user", "audio"),
    ]


def test_values_and_meanings() -> None:
    found = rows()
    assert found["model"] == Field(
        name="model", values="string", fate="honoured", text="Which.", required=True
    )
    assert (found["n"].values, found["n"].text) == ("integer, 1 to 128", "How many.")
    assert found["warmth"].values == "number, from 0"
    assert found["messages[].role"].values == '"system" or "user"'
    assert found["messages[].content"].values == "string or array of object"
    assert found["messages[].content[].type"].values == '"text" or "image"'
    assert found["biases"].values == "object"
    assert found["schema"].values == "any JSON"


def test_fates() -> None:
    found = rows()
    picture, parsed = found["messages[].picture"], found["messages[].parsed"]
    assert (picture.fate, picture.text) == ("refused", "models read text only.")
    assert (parsed.fate, parsed.text) == ("no effect", "")
    assert (found["user"].fate, found["user"].text) == ("no effect", "nobody is told.")
    assert (found["audio"].fate, found["audio"].values) == ("refused", 'null or false or "off"')
