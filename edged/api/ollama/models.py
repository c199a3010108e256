"""ollama's lists of models: GET /api/tags and /api/ps, POST /api/show; and GET /api/version."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged import __version__
from edged.api.answer import json_answer
from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.ollama import names
from edged.api.work import Api
from edged.config.paths import model_path
from edged.lifecycle.holding import Holding, holdings
from edged.lifecycle.model_facts import ModelFacts, ModelFiles, digest
from edged.lifecycle.status import ModelStatus

SPOKEN = "0.13.0"  # the version of ollama whose API this is: clients ask for a least one
_FOR_EVER_S = 100 * 365 * 86400.0  # how ollama tells that a model is not unloaded
_RUNNING = ("loading", "ready")


class Details(Struct, kw_only=True):
    """What kind of model it is."""

    parent_model: str = ""
    format: str = "gguf"
    family: Annotated[str, Meta(description="The architecture of its file.")]
    families: list[str]
    parameter_size: Annotated[str, Meta(description="How many weights it has: `134.52M`.")]
    quantization_level: Annotated[str, Meta(description="Their number format: `Q4_K_M`.")]


class Listed(Struct, kw_only=True):
    """A model that can be used."""

    name: str
    model: str
    modified_at: datetime
    size: Annotated[int, Meta(description="Bytes of its file.")]
    digest: Annotated[str, Meta(description="Changes when its file does.")]
    details: Details
    capabilities: list[str]


class Tags(Struct, kw_only=True):
    """Models that can be used, loaded or not."""

    models: list[Listed]


class Running(Struct, kw_only=True):
    """A model that is loaded."""

    name: str
    model: str
    size: Annotated[int, Meta(description="Bytes of memory that it holds, its file's pages included.")]
    digest: str
    details: Details
    expires_at: Annotated[datetime, Meta(description="When it is unloaded if nobody asks it.")]
    size_vram: int = 0
    context_length: Annotated[int, Meta(description="Tokens that one request may use.")]


class Processes(Struct, kw_only=True):
    """Models that are loaded."""

    models: list[Running]


class Shown(Struct, kw_only=True):
    """All that a model's file says of it."""

    modelfile: str
    parameters: str
    template: Annotated[str, Meta(description="Its chat template, in Jinja.")]
    license: str
    details: Details
    model_info: Annotated[
        dict[str, Any], Meta(description="Its file's metadata; long lists are left empty, long texts out.")
    ]
    capabilities: list[str]
    modified_at: datetime


class Version(Struct, kw_only=True):
    """Which API this is."""

    version: Annotated[str, Meta(description="Of ollama, whose API is spoken here.")]
    edged: Annotated[str, Meta(description="Of edged.")]


class ShowRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/show."""

    model: Annotated[str, Meta(description="The model's name; GET /api/tags lists them.")] | None = None
    name: Annotated[str, Meta(description="What `model` was called before.")] | None = None


TAGS = Endpoint(
    method="GET", path="/api/tags", family="ollama", summary="List the models that can be used.", answer=Tags
)
PS = Endpoint(
    method="GET",
    path="/api/ps",
    family="ollama",
    summary="List the models that are loaded.",
    answer=Processes,
)
SHOW = Endpoint(
    method="POST",
    path="/api/show",
    family="ollama",
    summary="Show what a model's file says of it.",
    request=ShowRequest,
    example={"model": "smollm2"},
    harmless={
        "verbose": "Vocabularies are never told.",
        "system": "Models have no system prompt of their own here.",
        "template": "The file's own template is shown.",
        "options": "What is shown does not depend on them.",
    },
    answer=Shown,
)
VERSION = Endpoint(
    method="GET", path="/api/version", family="ollama", summary="Tell which API this is.", answer=Version
)
ROOT = Endpoint(
    method="GET",
    path="/",
    family="ollama",
    summary="Say that a server is here, as clients ask before all else.",
    media_type="text/plain",
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("ollama_models", __name__)
    files = ModelFiles()

    def facts(model: str) -> ModelFacts:
        return files.facts(_path(api, model))

    @blueprint.get(TAGS.path)
    def tags() -> Response:
        usable = [status for status in api.pool.statuses() if status.given_up != "file"]
        return json_answer(Tags(models=[_listed(status, facts(status.model)) for status in usable]))

    @blueprint.get(PS.path)
    def ps() -> Response:
        statuses = [status for status in api.pool.statuses() if status.state in _RUNNING]
        running = {status.model for status in statuses}
        held = holdings([plan for plan in api.pool.plans if plan.model in running], statuses)
        return json_answer(
            Processes(models=[_running(each, facts(each.model), held[each.model]) for each in statuses])
        )

    @blueprint.post(SHOW.path)
    @api.working
    def show() -> Response:
        wanted = read_request(request.environ, SHOW, ShowRequest)
        status = api.pool.status(names.configured(wanted.model, wanted.name))
        return json_answer(_shown(api, status, facts(status.model)))

    @blueprint.get(VERSION.path)
    def version() -> Response:
        return json_answer(Version(version=SPOKEN, edged=__version__))

    @blueprint.get(ROOT.path)
    def root() -> Response:
        return Response(b"edged is running; /docs describes its API\n", mimetype="text/plain")

    return blueprint


def _path(api: Api, model: str) -> str:
    handle = api.pool.handles.get(model)
    return handle.plan.path if handle is not None else str(model_path(api.config, model))


def _listed(status: ModelStatus, facts: ModelFacts) -> Listed:
    return Listed(
        name=names.shown(status.model),
        model=names.shown(status.model),
        modified_at=_time(facts.modified_s),
        size=facts.size_bytes,
        digest=digest(status.model, facts),
        details=_details(facts),
        capabilities=_capabilities(status, facts),
    )


def _running(status: ModelStatus, facts: ModelFacts, held: Holding) -> Running:
    stays_s = _FOR_EVER_S if status.keep_alive_s is None else status.keep_alive_s
    idle_s = 0.0 if status.busy_slots or status.unused_s is None else status.unused_s
    return Running(
        name=names.shown(status.model),
        model=names.shown(status.model),
        size=(held.anon_bytes or 0) + (held.hot_bytes or 0),
        digest=digest(status.model, facts),
        details=_details(facts),
        expires_at=_time(time.time() + max(0.0, stays_s - idle_s)),
        context_length=status.n_ctx or 0,
    )


def _shown(api: Api, status: ModelStatus, facts: ModelFacts) -> Shown:
    path, handle = _path(api, status.model), api.pool.handles.get(status.model)
    parameters = [] if handle is None else [("num_ctx", handle.plan.n_ctx)]
    return Shown(
        modelfile="\n".join([f"FROM {path}", *(f"PARAMETER {name} {value}" for name, value in parameters)]),
        parameters="\n".join(f"{name:<30} {value}" for name, value in parameters),
        template=facts.chat_template or "",
        license=facts.license or "",
        details=_details(facts),
        model_info=_model_info(facts),
        capabilities=_capabilities(status, facts),
        modified_at=_time(facts.modified_s),
    )


def _capabilities(status: ModelStatus, facts: ModelFacts) -> list[str]:
    if status.kind == "embed":
        return ["embedding"]
    template = facts.chat_template or ""
    if status.kind == "rank":  # ollama has no such models
        return []
    thinks = "<think>" in template or "enable_thinking" in template
    return ["completion", "tools", *(["thinking"] if thinks else [])]


def _model_info(facts: ModelFacts) -> dict[str, Any]:
    lists: Mapping[str, list[Any]] = {key: [] for key in facts.array_lengths}
    counted = {} if facts.n_parameters is None else {"general.parameter_count": facts.n_parameters}
    return {**facts.metadata, **lists, **counted}


def _details(facts: ModelFacts) -> Details:
    family = facts.architecture or ""
    return Details(
        family=family,
        families=[family] if family else [],
        parameter_size=_count(facts.n_parameters),
        quantization_level=facts.weights or "",
    )


def _count(n_parameters: int | None) -> str:
    """As ollama writes it: `8.0B`, `134.52M`, `260K`."""
    if n_parameters is None:
        return ""
    for unit, name, digits in ((1e9, "B", 1), (1e6, "M", 2), (1e3, "K", 0)):
        if n_parameters >= unit:
            return f"{n_parameters / unit:.{digits}f}{name}"
    return str(n_parameters)


def _time(seconds: float | None) -> datetime:
    return datetime.fromtimestamp(seconds or 0.0, UTC)
