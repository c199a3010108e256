"""GET /v1/models and /v1/models/{id}."""

import time

import msgspec
from flask import Blueprint, Response

from edged.api.body import Fields
from edged.api.work import Api
from edged.lifecycle.status import ModelStatus


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("models", __name__)
    created = int(time.time())

    def entry(status: ModelStatus) -> Fields:
        return {
            "id": status.model,
            "object": "model",
            "created": created,
            "owned_by": "edged",
            "meta": {
                "kind": status.kind,
                "state": status.state,
                "n_ctx": status.n_ctx,
                "n_embd": status.n_embd,
            },
        }

    @blueprint.get("/v1/models")
    def models() -> Response:
        data = [entry(status) for status in api.pool.statuses()]
        return Response(msgspec.json.encode({"object": "list", "data": data}), mimetype="application/json")

    @blueprint.get("/v1/models/<model>")
    def model(model: str) -> Response:
        return Response(msgspec.json.encode(entry(api.pool.status(model))), mimetype="application/json")

    return blueprint
