"""GET /readyz, /health and /metrics. (/livez is answered before the application, in `edged/service`.)"""

import math
from collections.abc import Sequence

import msgspec
from flask import Blueprint, Response, request

from edged.api.body import Fields
from edged.api.work import Api
from edged.lifecycle.status import ModelStatus

_SHOWN = ("state", "strategy", "phase", "bytes_done", "bytes_total", "remaining_s", "reason")


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/readyz")
    def readyz() -> Response:
        """Ready when every model that is loaded at start answers; `?model=` asks for one, whichever it is."""
        model = request.args.get("model")
        asked = (api.pool.status(model),) if model is not None else _at_start(api.pool.statuses())
        waiting = [status for status in asked if status.state != "ready"]
        ready = not waiting and not api.pool.draining
        state = "ready" if ready else "draining" if api.pool.draining else "waiting"
        body = {"status": state, "models": {status.model: _shown(status) for status in asked}}
        response = Response(msgspec.json.encode(body), 200 if ready else 503, mimetype="application/json")
        if not ready:
            response.headers["Retry-After"] = str(_retry_after_s(waiting))
        return response

    @blueprint.get("/health")
    def health() -> Response:
        """The shape that clients of llama.cpp's server expect."""
        if all(status.state == "ready" for status in _at_start(api.pool.statuses())):
            return Response(b'{"status":"ok"}', mimetype="application/json")
        error = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
        return Response(msgspec.json.encode({"error": error}), 503, mimetype="application/json")

    @blueprint.get("/metrics")
    def metrics() -> Response:
        body, content_type = api.metrics.render()
        return Response(body, content_type=content_type)

    return blueprint


def _at_start(statuses: Sequence[ModelStatus]) -> tuple[ModelStatus, ...]:
    """Without those that were unloaded after that: they are loaded again when somebody asks for them."""
    return tuple(status for status in statuses if status.load_at_start and status.unloaded_by is None)


def _shown(status: ModelStatus) -> Fields:
    return {name: getattr(status, name) for name in _SHOWN}


def _retry_after_s(waiting: Sequence[ModelStatus]) -> int:
    return math.ceil(max([1.0, *(status.remaining_s or 1.0 for status in waiting)]))
