"""GET /edged/v1/models, POST /edged/v1/models/{id}/load, /warmup, /cool and /unload."""

from typing import Annotated, Any

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api.answer import json_answer
from edged.api.endpoint import Endpoint
from edged.api.query import read_query
from edged.api.work import Api
from edged.lifecycle.holding import holdings
from edged.lifecycle.listing import CooledDown, Listed, Listing, WarmedUp, accounted, told
from edged.lifecycle.status import ModelStatus


class ListQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to tell beside the states."""

    memory: Annotated[
        bool, Meta(description="Also what each model holds, which takes some milliseconds to find out.")
    ] = False


class CoolQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to give back."""

    shrink: Annotated[bool, Meta(description="The context as well as pages.")] = False


def _control(verb: str, summary: str, answer: Any, **more: Any) -> Endpoint:
    path = f"/edged/v1/models/<model>/{verb}"
    return Endpoint(method="POST", path=path, family="edged", summary=summary, answer=answer, **more)


MODELS = Endpoint(
    method="GET",
    path="/edged/v1/models",
    family="edged",
    summary="What each model is doing.",
    query=ListQuery,
    answer=Listing,
)
MODEL = Endpoint(
    method="GET",
    path="/edged/v1/models/<model>",
    family="edged",
    summary="What one model is doing.",
    answer=ModelStatus,
)
LOAD = _control("load", "Begin to load a model; its GET tells how far it is.", ModelStatus, status=202)
WARMUP = _control("warmup", "Load a model if need be, and compute a batch with it.", WarmedUp)
COOL = _control("cool", "Give back a model's memory until its next request.", CooledDown, query=CoolQuery)
UNLOAD = _control("unload", "Unload a model once its requests are answered.", ModelStatus)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("native_models", __name__)

    @blueprint.get(MODELS.path)
    def models() -> Response:
        statuses = api.pool.statuses()
        if not read_query(request.args, ListQuery).memory:
            return json_answer(Listing(models=tuple(told(each, Listed) for each in statuses)))
        held = holdings(api.pool.plans, statuses)
        listed = tuple(told(each, Listed, memory=held.get(each.model)) for each in statuses)
        return json_answer(Listing(models=listed, account=accounted(api.pool.admission.look())))

    @blueprint.get(MODEL.path)
    def model(model: str) -> Response:
        return json_answer(api.pool.status(model))

    @blueprint.post(LOAD.path)
    @api.working
    def load(model: str) -> Response:
        api.pool.load(model)
        return json_answer(api.pool.status(model), LOAD.status)

    @blueprint.post(WARMUP.path)
    @api.working
    def warmup(model: str) -> Response:
        warmup_s = api.pool.warmup(model, api.config.server.request_timeout)
        return json_answer(told(api.pool.status(model), WarmedUp, warmup_s=warmup_s))

    @blueprint.post(COOL.path)
    @api.working
    def cool(model: str) -> Response:
        freed_bytes = api.pool.cool(model, shrink=read_query(request.args, CoolQuery).shrink)
        return json_answer(told(api.pool.status(model), CooledDown, freed_bytes=freed_bytes))

    @blueprint.post(UNLOAD.path)
    @api.working
    def unload(model: str) -> Response:
        api.pool.unload(model)
        return json_answer(api.pool.status(model))

    return blueprint
