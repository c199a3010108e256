"""Whole answers of JSON."""

from typing import Any

import msgspec
from flask import Response


def json_answer(body: Any, status: int = 200) -> Response:
    """A response of what msgspec can write."""
    return Response(msgspec.json.encode(body), status, mimetype="application/json")
