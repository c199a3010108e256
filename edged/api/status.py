"""GET /readyz, /health and /metrics. (/livez is answered before the application, in `edged/service`.)"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import Meta, Struct, structs

from edged.api.answer import json_answer
from edged.api.endpoint import Endpoint
from edged.api.query import read_query
from edged.api.work import Api
from edged.lifecycle.status import ModelStatus, State


class ReadyQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whom to ask about."""

    model: Annotated[str, Meta(description="Only this one, whether it is loaded at start or not.")] | None = (
        None
    )


class ModelReadiness(Struct, frozen=True, kw_only=True):
    """How far a model is."""

    state: State
    strategy: str
    phase: str | None
    bytes_done: int
    bytes_total: int
    remaining_s: float | None
    reason: str | None


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether all models that were asked about answer."""

    status: Literal["ready", "waiting", "draining"]
    models: Mapping[str, ModelReadiness]


class Alive(Struct, frozen=True, kw_only=True):
    """It is."""

    status: Literal["ok"] = "ok"


class LoadingDetail(Struct, frozen=True, kw_only=True):
    """As llama.cpp's server says it."""

    code: int = 503
    message: str = "Loading model"
    type: str = "unavailable_error"


class StillLoading(Struct, frozen=True, kw_only=True):
    """Not every model that is loaded at start answers yet."""

    error: LoadingDetail = LoadingDetail()


LIVEZ = Endpoint(  # answered before the application, in `edged/service`
    method="GET",
    path="/livez",
    family="edged",
    summary="Whether edged runs at all. Never waits for a model.",
    answer=Alive,
    errors=(),
)
READYZ = Endpoint(
    method="GET",
    path="/readyz",
    family="edged",
    summary="Whether every model that is loaded at start answers.",
    query=ReadyQuery,
    answer=Readiness,
    otherwise={503: Readiness},
)
HEALTH = Endpoint(
    method="GET",
    path="/health",
    family="llama.cpp",
    summary="The same in the shape that clients of llama.cpp's server expect.",
    answer=Alive,
    otherwise={503: StillLoading},
)
V1_HEALTH = structs.replace(HEALTH, path="/v1/health", summary="Another name of /health.")
METRICS = Endpoint(
    method="GET",
    path="/metrics",
    family="edged",
    summary="Counts and times for Prometheus.",
    media_type="text/plain",
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get(READYZ.path)
    def readyz() -> Response:
        model = read_query(request.args, ReadyQuery).model
        asked = (api.pool.status(model),) if model is not None else _at_start(api.pool.statuses())
        waiting = [status for status in asked if status.state != "ready"]
        models = {status.model: _readiness(status) for status in asked}
        if not waiting and not api.pool.draining:
            return json_answer(Readiness(status="ready", models=models))
        status: Literal["draining", "waiting"] = "draining" if api.pool.draining else "waiting"
        response = json_answer(Readiness(status=status, models=models), 503)
        response.headers["Retry-After"] = str(_retry_after_s(waiting))
        return response

    @blueprint.get(HEALTH.path)
    @blueprint.get(V1_HEALTH.path)
    def health() -> Response:
        if all(status.state == "ready" for status in _at_start(api.pool.statuses())):
            return json_answer(Alive())
        return json_answer(StillLoading(), 503)

    @blueprint.get(METRICS.path)
    def metrics() -> Response:
        body, content_type = api.metrics.render()
        return Response(body, content_type=content_type)

    return blueprint


def _at_start(statuses: Sequence[ModelStatus]) -> tuple[ModelStatus, ...]:
    """Without those that were unloaded after that: they are loaded again when somebody asks for them."""
    return tuple(status for status in statuses if status.load_at_start and status.unloaded_by is None)


def _readiness(status: ModelStatus) -> ModelReadiness:
    return ModelReadiness(**{name: getattr(status, name) for name in ModelReadiness.__struct_fields__})


def _retry_after_s(waiting: Sequence[ModelStatus]) -> int:
    return math.ceil(max([1.0, *(status.remaining_s or 1.0 for status in waiting)]))
