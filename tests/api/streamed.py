"""Whether what a stream holds is what /openapi.json says of it."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from tests.api.conftest import Json

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


class Streams:
    """The streams of a description."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def problem(self, operation: str, status: int, media_type: str, body: bytes) -> str | None:
        """What is wrong with a whole stream; None where nothing is, or where it is none."""
        if media_type not in (EVENTS, LINES):
            return None
        validator = self._validator(operation, str(status), media_type)
        for item in _items(body.decode(), media_type):
            error = jsonschema.exceptions.best_match(validator.iter_errors(item))
            if error is not None:
                return f"{error.message}\nin {item}"
        return None

    def _validator(self, operation: str, status: str, media_type: str) -> Any:
        method, _, path = operation.partition(" ")
        responses = self._document["paths"][path][method.lower()]["responses"]
        schema = responses[status]["content"][media_type]["schema"]
        each = schema["properties"]["data"]["contentSchema"] if media_type == EVENTS else schema
        return jsonschema.Draft202012Validator({**each, "components": self._document["components"]})


def _items(text: str, media_type: str) -> Iterator[Any]:
    """The JSON of each event or line. OpenAI's streams end with one event that is none."""
    for line in text.splitlines():
        if media_type == LINES:
            yield json.loads(line)
        elif line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))
