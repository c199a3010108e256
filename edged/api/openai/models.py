"""GET /v1/models and /v1/models/{id}."""

import time
from typing import Literal

from flask import Blueprint, Response
from msgspec import Struct

from edged.api.answer import json_answer
from edged.api.endpoint import Endpoint
from edged.api.work import Api
from edged.lifecycle.status import ModelStatus, State


class ModelMeta(Struct, frozen=True, kw_only=True):
    """What edged knows beside; numbers that only a load tells are null before it."""

    kind: str | None
    state: State
    n_ctx: int | None
    n_embd: int | None


class ModelEntry(Struct, frozen=True, kw_only=True):
    """A model of the configuration. `created` is when edged was started."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "edged"
    meta: ModelMeta


class ModelList(Struct, frozen=True, kw_only=True):
    """All of them."""

    object: Literal["list"] = "list"
    data: tuple[ModelEntry, ...]


MODELS = Endpoint(
    method="GET",
    path="/v1/models",
    family="openai",
    summary="List the models of the configuration, loaded or not.",
    answer=ModelList,
)
MODEL = Endpoint(
    method="GET", path="/v1/models/<model>", family="openai", summary="Show one of them.", answer=ModelEntry
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("models", __name__)
    created = int(time.time())

    @blueprint.get(MODELS.path)
    def models() -> Response:
        return json_answer(ModelList(data=tuple(_entry(each, created) for each in api.pool.statuses())))

    @blueprint.get(MODEL.path)
    def model(model: str) -> Response:
        return json_answer(_entry(api.pool.status(model), created))

    return blueprint


def _entry(status: ModelStatus, created: int) -> ModelEntry:
    meta = ModelMeta(kind=status.kind, state=status.state, n_ctx=status.n_ctx, n_embd=status.n_embd)
    return ModelEntry(id=status.model, created=created, meta=meta)
