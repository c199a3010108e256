"""The HTTP application: endpoints, who may call them, and one line per request at debug level."""

import functools
from collections.abc import Callable

from flask import Flask, Response, g, request

from edged.api import errors, status
from edged.api.auth import Gate
from edged.api.direct import Direct
from edged.api.native import events, facts
from edged.api.native import models as native_models
from edged.api.ollama import embeddings as ollama_embeddings
from edged.api.ollama import models as ollama_models
from edged.api.ollama import pull
from edged.api.openai import chat, completions, embeddings, models
from edged.api.visit import Visit
from edged.api.work import Api, Places
from edged.lifecycle.pool import Pool
from edged.lifecycle.pulls import Pulls
from edged.service.liveness import Wsgi
from edged.telemetry.metrics import Metrics


def create_app(pool: Pool, metrics: Metrics, pulls: Pulls) -> Wsgi:
    """A WSGI application that serves the pool's models, by whichever configuration is in force."""
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    api = Api(pool, metrics, Places(), pulls)
    gate_of = functools.lru_cache(maxsize=1)(Gate.of)

    def gate() -> Gate:
        return gate_of(api.config.access)

    openai, ollama = (models, chat, completions), (ollama_models, pull)
    for module in (*openai, *ollama, facts, events, native_models, status):
        app.register_blueprint(module.routes(api))
    errors.register(app)
    _watch_requests(app, api, gate)
    views = {
        embeddings.PATH: functools.partial(embeddings.answer, api),
        ollama_embeddings.EMBED.path: functools.partial(ollama_embeddings.embed, api),
        ollama_embeddings.EMBEDDINGS.path: functools.partial(ollama_embeddings.embeddings, api),
    }
    for path in views:  # POST never gets there: other methods are refused, with the one that is taken
        app.add_url_rule(path, path, methods=["POST"])
    return Direct(app, api, gate, views)


def _watch_requests(app: Flask, api: Api, gate: Callable[[], Gate]) -> None:
    """Let requests in or refuse them, name them, and note how they ended."""

    @app.before_request
    def begin() -> None:
        g.visit = Visit(request.environ)
        gate().check(request.environ)

    @app.after_request
    def end(response: Response) -> Response:
        visit: Visit = g.visit
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        response.headers["X-Request-Id"] = visit.request_id
        response.call_on_close(lambda: visit.ended(api.metrics, endpoint, response.status_code))
        return response
