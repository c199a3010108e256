"""llama.cpp's GET /props and /slots: what a model is, and what it does. Neither waits for a model."""

from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged import __version__
from edged.api.answer import json_answer
from edged.api.endpoint import Endpoint
from edged.api.llamacpp.completion_answer import Settings, settings_of
from edged.api.llamacpp.which import model_of
from edged.api.query import read_query
from edged.api.work import Api
from edged.errors import Unavailable
from edged.lifecycle.model_facts import chat_template
from edged.lifecycle.status import why_not_ready
from edged.policy.types import LoadPlan
from edged.runner import protocol

_DEFAULTS = settings_of(protocol.Generate(id=0))

_Model = Annotated[str | None, Meta(description="The model; may be left out where only one generates text.")]


class PropsQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model."""

    model: _Model = None


class SlotsQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what to answer when it has much to do."""

    model: _Model = None
    fail_on_no_slot: Annotated[str | None, Meta(description="Answer 503 while every slot is busy.")] = None


class Slot(Struct, frozen=True, kw_only=True):
    """One of the places where requests are computed side by side; which of them is busy is not told."""

    id: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    params: Settings = _DEFAULTS


class Generation(Struct, frozen=True, kw_only=True):
    """What a request gets that says nothing else."""

    n_ctx: int
    params: Settings = _DEFAULTS


class Modalities(Struct, frozen=True, kw_only=True):
    """What a model reads beside text."""

    vision: bool = False
    audio: bool = False


class Props(Struct, frozen=True, kw_only=True):
    """A model's properties."""

    default_generation_settings: Generation
    total_slots: int
    model_alias: str
    model_path: str
    chat_template: str
    modalities: Modalities = Modalities()
    build_info: str
    is_sleeping: Annotated[bool, Meta(description="It is loaded when it is asked.")]


PROPS = Endpoint(
    method="GET",
    path="/props",
    family="llama.cpp",
    summary="The properties of a model.",
    query=PropsQuery,
    answer=Props,
)
SLOTS = Endpoint(
    method="GET",
    path="/slots",
    family="llama.cpp",
    summary="What a model's slots do.",
    query=SlotsQuery,
    answer=list[Slot],
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("llamacpp_state", __name__)

    @blueprint.get(PROPS.path)
    def props() -> Response:
        model = model_of(api, read_query(request.args, PropsQuery).model, "generate")
        plan, status = _plan(api, model), api.pool.status(model)
        return json_answer(
            Props(
                default_generation_settings=Generation(n_ctx=status.n_ctx or plan.n_ctx),
                total_slots=plan.n_seq_max,
                model_alias=model,
                model_path=plan.path,
                chat_template=chat_template(plan.path) or "",
                build_info=f"edged {__version__}",
                is_sleeping=status.state != "ready",
            )
        )

    @blueprint.get(SLOTS.path)
    def slots() -> Response:
        query = read_query(request.args, SlotsQuery)
        model = model_of(api, query.model, "generate")
        plan, status = _plan(api, model), api.pool.status(model)
        if query.fail_on_no_slot and status.busy_slots >= plan.n_seq_max:
            raise Unavailable(f"every slot of {model} is busy", 1.0)
        speculative = api.config.models[model].speculation != "off"
        n_ctx = status.n_ctx or plan.n_ctx
        return json_answer(
            [
                Slot(id=index, n_ctx=n_ctx, speculative=speculative, is_processing=index < status.busy_slots)
                for index in range(plan.n_seq_max)
            ]
        )

    return blueprint


def _plan(api: Api, model: str) -> LoadPlan:
    """What a model is loaded by. Raises UnknownModel, or Unavailable where there is no plan for it."""
    status, handle = api.pool.status(model), api.pool.handles.get(model)
    if handle is None:
        raise Unavailable(why_not_ready(status), 60.0)
    return handle.plan
