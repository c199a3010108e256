"""Twenty schemas of answers that people ask for, one for each thing that a schema can say."""

from typing import Any


def object_of(**properties: Any) -> dict[str, Any]:
    """Exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def text_of(most: int = 40) -> dict[str, Any]:
    """A text of so many characters at most."""
    return {"type": "string", "minLength": 1, "maxLength": most}


def _number(kind: str, least: float, most: float) -> dict[str, Any]:
    return {"type": kind, "minimum": least, "maximum": most}


def _string(**limits: Any) -> dict[str, Any]:
    return {"type": "string", **limits}


def list_of(items: Any, least: int, most: int) -> dict[str, Any]:
    """So many of them."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


AGE = _number("integer", 0, 130)
_CIRCLE = object_of(kind={"const": "circle"}, radius=_number("number", 0.5, 9.25))
_SQUARE = object_of(kind={"const": "square"}, side=_number("integer", 1, 99))
_LINE = object_of(item=text_of(15), count=_number("integer", 1, 20))
SCHEMAS: dict[str, dict[str, Any]] = {
    "a person": object_of(name=text_of(), age=AGE),
    "a colour": object_of(colour={"enum": ["red", "green", "blue", None, 3, {"rgb": [1, 2, 3]}]}),
    "a sentiment": object_of(label=_string(enum=["positive", "negative"]), score=_number("number", 0, 1)),
    "tags": object_of(tags=list_of(text_of(12), 2, 5)),
    "a point": {"type": "array", "prefixItems": [_number("number", -90, 90)] * 2, "items": False},
    "an appointment": object_of(day=_string(format="date"), at=_string(format="time")),
    "a moment": object_of(at=_string(format="date-time"), host=_string(format="ipv4")),
    "an id": object_of(id=_string(format="uuid")),
    "a number plate": object_of(plate=_string(pattern="^[A-Z]{1,3}-[A-Z]{1,2} \\d{1,4}$")),
    "a slug": object_of(slug=_string(pattern="^[a-z]+(-[a-z]+)*$", maxLength=20)),
    "optional fields": {
        "type": "object",
        "properties": {"a": text_of(9), "b": AGE, "c": {"type": "boolean"}},
    },
    "a string or nothing": object_of(nick={"anyOf": [text_of(15), {"type": "null"}]}),
    "a team": {
        "$defs": {"person": object_of(name=text_of(15), age=AGE)},
        **object_of(lead={"$ref": "#/$defs/person"}, others=list_of({"$ref": "#/$defs/person"}, 0, 2)),
    },
    "a shape": {"oneOf": [_CIRCLE, _SQUARE]},
    "shapes": object_of(shapes=list_of({"anyOf": [_CIRCLE, _SQUARE, {"type": "null"}]}, 1, 4)),
    "an order": object_of(
        customer=object_of(name=text_of(20), vip={"type": "boolean"}),
        lines=list_of(_LINE, 1, 3),
        total=_number("number", 0, 10000),
    ),
    "a merged one": {"allOf": [object_of(a=AGE, b=text_of(9)), {"properties": {"a": {"minimum": 100}}}]},
    "a list of types": {"type": ["integer", "boolean", "null"]},
    "an even number": {"type": "integer", "multipleOf": 2, "minimum": -20, "maximum": 20},
    "sizes in another script": object_of(**{'größe "cm"': _number("integer", 30, 250), "名前": text_of(12)}),
}
