"""The HTTP application: all endpoints, behind one door."""

import functools

from flask import Flask, request

from edged.api import errors, status
from edged.api.direct import Direct
from edged.api.door import Door
from edged.api.native import events, facts
from edged.api.native import models as native_models
from edged.api.ollama import embeddings as ollama_embeddings
from edged.api.ollama import models as ollama_models
from edged.api.openai import chat, completions, embeddings, models
from edged.api.visit import Visit
from edged.api.work import Api, Places
from edged.lifecycle.pool import Pool
from edged.service.liveness import Wsgi
from edged.telemetry.metrics import Metrics


def create_app(pool: Pool, metrics: Metrics, administrators_key: str | None = None) -> Wsgi:
    """A WSGI application that serves the pool's models, by whichever configuration is in force.

    `administrators_key` lets everything be done, beside the configuration's keys.
    """
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    api = Api(pool, metrics, Places())
    for module in (models, chat, completions, ollama_models, facts, events, native_models, status):
        app.register_blueprint(module.routes(api))
    errors.register(app)
    _name_endpoints(app)
    views = {
        embeddings.EMBEDDINGS.path: functools.partial(embeddings.answer, api),
        ollama_embeddings.EMBED.path: functools.partial(ollama_embeddings.embed, api),
        ollama_embeddings.EMBEDDINGS.path: functools.partial(ollama_embeddings.embeddings, api),
    }
    for path in views:  # POST never gets there: other methods are refused, with the one that is taken
        app.add_url_rule(path, path, methods=["POST"])
    return Door(Direct(app, api, views), api, administrators_key)


def _name_endpoints(app: Flask) -> None:
    """Let metrics know requests by their route."""

    @app.before_request
    def begin() -> None:
        if request.url_rule is not None:
            Visit.of(request.environ).endpoint = request.url_rule.rule
