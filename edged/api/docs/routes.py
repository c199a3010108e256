"""GET /openapi.json and /docs: what every endpoint takes and gives. Both are made when first asked for."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response

from edged.api.answer import json_answer
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

    # What makes them is imported when somebody looks: a start does not wait for it.
    @lru_cache(maxsize=1)
    def description() -> dict[str, Any]:
        from edged.api.docs.openapi import document

        return document(endpoints)

    @lru_cache(maxsize=1)
    def for_people() -> tuple[str, str]:
        from edged.api.docs.page import CONTENT_SECURITY_POLICY, page

        return page(endpoints), CONTENT_SECURITY_POLICY

    @blueprint.get(OPENAPI.path)
    def openapi() -> Response:
        return json_answer(description())

    @blueprint.get(DOCS.path)
    def docs() -> Response:
        text, policy = for_people()
        headers = {"Content-Security-Policy": policy}
        return Response(text, content_type="text/html; charset=utf-8", headers=headers)

    return blueprint
