"""GET /edged/v1/hardware and /plan: what was measured, what was decided on it, and what came of that."""

import msgspec
from flask import Blueprint, Response

from edged.api.work import Api
from edged.lifecycle.comparison import Plans, times_of, with_measured


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("facts", __name__, url_prefix="/edged/v1")

    @blueprint.get("/hardware")
    def hardware() -> Response:
        return Response(msgspec.json.encode(api.pool.snapshot), mimetype="application/json")

    @blueprint.get("/plan")
    def plan() -> Response:
        plans = tuple(with_measured(plan, times_of(api.pool.status(plan.model))) for plan in api.pool.plans)
        body = Plans(plans=plans, problems=api.pool.problems)
        return Response(msgspec.json.encode(body), mimetype="application/json")

    return blueprint
