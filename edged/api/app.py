"""The HTTP application: all endpoints, behind one door."""

import functools
from collections.abc import Callable

from flask import Flask, request

from edged.api import errors, status
from edged.api.direct import Direct
from edged.api.docs import routes as docs
from edged.api.door import Door
from edged.api.endpoint import Endpoint, declared
from edged.api.llamacpp import completion as llamacpp_completion
from edged.api.llamacpp import embedding as llamacpp_embedding
from edged.api.llamacpp import state as llamacpp_state
from edged.api.llamacpp import text as llamacpp_text
from edged.api.native import events, facts
from edged.api.native import models as native_models
from edged.api.ollama import chat as ollama_chat
from edged.api.ollama import embeddings as ollama_embeddings
from edged.api.ollama import generate as ollama_generate
from edged.api.ollama import models as ollama_models
from edged.api.ollama import pull
from edged.api.openai import chat, completions, embeddings, models, rerank
from edged.api.openai.responses import routes as responses
from edged.api.visit import Visit
from edged.api.work import Api, Places
from edged.lifecycle.pool import Pool
from edged.lifecycle.pulls import Pulls
from edged.service.liveness import Environ, Wsgi
from edged.telemetry.metrics import Metrics

_MODULES = (
    *(models, chat, completions, responses, rerank),
    *(ollama_chat, ollama_generate, ollama_models, pull),
    *(llamacpp_completion, llamacpp_text, llamacpp_embedding, llamacpp_state),
    *(facts, events, native_models, status),
)
_DIRECT: tuple[tuple[Endpoint, Callable[[Api, Environ], bytes]], ...] = (
    (embeddings.EMBEDDINGS, embeddings.answer),
    (ollama_embeddings.EMBED, ollama_embeddings.embed),
    (ollama_embeddings.EMBEDDINGS, ollama_embeddings.embeddings),
)
ENDPOINTS = (*declared((*_MODULES, docs)), *(endpoint for endpoint, _ in _DIRECT))


def create_app(pool: Pool, metrics: Metrics, pulls: Pulls, administrators_key: str | None = None) -> Wsgi:
    """A WSGI application that serves the pool's models, by whichever configuration is in force.

    `administrators_key` lets everything be done, beside the configuration's keys.
    """
    api = Api(pool, metrics, Places(), pulls)
    views = {endpoint.path: functools.partial(view, api) for endpoint, view in _DIRECT}
    return Door(Direct(framework(api), api, views), api, administrators_key)


def framework(api: Api) -> Flask:
    """All endpoints but those that are answered beside it, of which it refuses other methods than POST."""
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    for module in _MODULES:
        app.register_blueprint(module.routes(api))
    app.register_blueprint(docs.routes(ENDPOINTS))
    for endpoint, _ in _DIRECT:
        app.add_url_rule(endpoint.path, endpoint.path, methods=[endpoint.method])
    errors.register(app)
    _name_endpoints(app)
    return app


def _name_endpoints(app: Flask) -> None:
    """Let metrics know requests by their route."""

    @app.before_request
    def begin() -> None:
        if request.url_rule is not None:
            Visit.of(request.environ).endpoint = request.url_rule.rule
