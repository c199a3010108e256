"""GET /edged/v1/hardware and /plan: what was measured, and what was decided on it."""

import msgspec
from flask import Blueprint, Response

from edged.api.work import Api


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("facts", __name__, url_prefix="/edged/v1")

    @blueprint.get("/hardware")
    def hardware() -> Response:
        return Response(msgspec.json.encode(api.pool.snapshot), mimetype="application/json")

    @blueprint.get("/plan")
    def plan() -> Response:
        body = {"plans": api.pool.plans, "problems": api.pool.problems}
        return Response(msgspec.json.encode(body), mimetype="application/json")

    return blueprint
