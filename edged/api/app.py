"""The HTTP application: endpoints, who may call them, and one line per request at debug level.

Bodies, prompts and keys are never logged: what is written of a request is its method, path and status.
"""

import logging
import re
import secrets
import threading
import time

from flask import Flask, Response, g, request

from edged.api import errors, status
from edged.api.auth import Gate
from edged.api.native import facts
from edged.api.native import models as native_models
from edged.api.openai import chat, completions, embeddings, models
from edged.api.work import Api
from edged.config.schema import Config
from edged.lifecycle.pool import Pool
from edged.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(pool: Pool, config: Config, metrics: Metrics) -> Flask:
    """A WSGI application that serves the pool's models."""
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    app.config["MAX_CONTENT_LENGTH"] = int(config.server.max_body)
    api = Api(pool, config, metrics, threading.BoundedSemaphore(config.server.max_requests))
    for module in (models, embeddings, chat, completions, facts, native_models, status):
        app.register_blueprint(module.routes(api))
    errors.register(app)
    _watch_requests(app, Gate(config.access.mode, config.access.api_keys, config.access.hosts), metrics)
    return app


def _watch_requests(app: Flask, gate: Gate, metrics: Metrics) -> None:
    """Let requests in or refuse them, name them, and note how they ended."""

    @app.before_request
    def begin() -> None:
        g.began_s = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        gate.check(request.environ)

    @app.after_request
    def end(response: Response) -> Response:
        began_s, request_id = g.began_s, g.request_id
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        method, path = request.method, request.path
        response.headers["X-Request-Id"] = request_id

        @response.call_on_close
        def ended() -> None:
            duration_s = time.monotonic() - began_s
            metrics.answered(endpoint, response.status_code, duration_s)
            log.debug(
                "%s %s %d %.3f s",
                *(method, path, response.status_code, duration_s),
                extra={"request_id": request_id},
            )

        return response
