"""The HTTP application: endpoints, who may call them, and one line per request at debug level."""

import functools
from collections.abc import Callable, Iterable

from flask import Flask, Response, g, request

from edged.api import errors, status
from edged.api.auth import Gate
from edged.api.direct import Direct
from edged.api.docs import routes as docs
from edged.api.endpoint import declared
from edged.api.native import events, facts
from edged.api.native import models as native_models
from edged.api.openai import chat, completions, embeddings, models
from edged.api.visit import Visit
from edged.api.work import Api, Places
from edged.lifecycle.pool import Pool
from edged.service.liveness import Wsgi
from edged.telemetry.metrics import Metrics

_MODULES = (models, chat, completions, facts, events, native_models, status)
ENDPOINTS = declared((models, chat, completions, embeddings, facts, events, native_models, status, docs))


def create_app(pool: Pool, metrics: Metrics) -> Wsgi:
    """A WSGI application that serves the pool's models, by whichever configuration is in force."""
    api = Api(pool, metrics, Places())
    gate_of = functools.lru_cache(maxsize=1)(Gate.of)

    def gate() -> Gate:
        return gate_of(api.config.access)

    views = {embeddings.EMBEDDINGS.path: functools.partial(embeddings.answer, api)}
    return Direct(framework(api, gate, views), api, gate, views)


def framework(api: Api, gate: Callable[[], Gate], beside: Iterable[str]) -> Flask:
    """All endpoints but those that are answered beside it, of which it refuses other methods than POST."""
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    for module in _MODULES:
        app.register_blueprint(module.routes(api))
    app.register_blueprint(docs.routes(ENDPOINTS))
    for path in beside:
        app.add_url_rule(path, path, methods=["POST"])
    errors.register(app)
    _watch_requests(app, api, gate)
    return app


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
