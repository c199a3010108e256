"""GET /openapi.json and /docs: what every endpoint takes and gives. Both are made when first asked for."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response
from msgspec import json

from edged.api.docs.openapi import document
from edged.api.docs.page import CONTENT_SECURITY_POLICY, page
from edged.api.endpoint import Endpoint

OPENAPI = Endpoint(
    method="GET",
    path="/openapi.json",
    family="edged",
    summary="This description, for programs.",
    answer=dict[str, Any],
)
DOCS = Endpoint(
    method="GET",
    path="/docs",
    family="edged",
    summary="This description, for people.",
    media_type="text/html",
)


def routes(endpoints: Sequence[Endpoint]) -> Blueprint:
    """The endpoints, which describe all `endpoints`."""
    blueprint = Blueprint("docs", __name__)

    @lru_cache(maxsize=1)
    def made() -> tuple[bytes, bytes]:
        return json.encode(document(endpoints)), page(endpoints).encode()

    @blueprint.get(OPENAPI.path)
    def openapi() -> Response:
        return Response(made()[0], mimetype="application/json")

    @blueprint.get(DOCS.path)
    def docs() -> Response:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return Response(made()[1], content_type="text/html; charset=utf-8", headers=headers)

    return blueprint
