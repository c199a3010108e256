"""Whether the lines of a stream are what /openapi.json says of them; schemathesis looks at events itself."""

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from tests.api.conftest import Json

LINES = "application/x-ndjson"


class Lines:
    """The streams of lines of a description."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def problem(self, operation: str, status: int, media_type: str, body: bytes) -> str | None:
        """What is wrong with a whole stream; None where nothing is, or where it is none."""
        if media_type != LINES:
            return None
        validator = self._validator(operation, str(status))
        for line in body.splitlines():
            error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(line)))
            if error is not None:
                return f"{error.message}\nin {line.decode()}"
        return None

    def _validator(self, operation: str, status: str) -> Any:
        method, _, path = operation.partition(" ")
        responses = self._document["paths"][path][method.lower()]["responses"]
        schema = responses[status]["content"][LINES]["schema"]
        return jsonschema.Draft202012Validator({**schema, "components": self._document["components"]})
