"""GET /edged/v1/hardware and /plan: what was measured, what was decided on it, and what came of that."""

from flask import Blueprint, Response

from edged.api.answer import json_answer
from edged.api.endpoint import Endpoint
from edged.api.work import Api
from edged.hw.snapshot import HardwareSnapshot
from edged.lifecycle.comparison import Plans, times_of, with_measured

HARDWARE = Endpoint(
    method="GET",
    path="/edged/v1/hardware",
    family="edged",
    summary="What was measured of this machine.",
    answer=HardwareSnapshot,
)
PLAN = Endpoint(
    method="GET",
    path="/edged/v1/plan",
    family="edged",
    summary="How each model is loaded and why, with predicted and measured times.",
    answer=Plans,
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("facts", __name__)

    @blueprint.get(HARDWARE.path)
    def hardware() -> Response:
        return json_answer(api.pool.snapshot)

    @blueprint.get(PLAN.path)
    def plan() -> Response:
        plans = tuple(with_measured(plan, times_of(api.pool.status(plan.model))) for plan in api.pool.plans)
        return json_answer(Plans(plans=plans, problems=api.pool.problems))

    return blueprint
