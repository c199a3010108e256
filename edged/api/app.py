"""The HTTP application: endpoints, who may call them, and one line per request at debug level.

Bodies, prompts and keys are never logged: what is written of a request is its method, path and status.
"""

import functools
import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from edged.api import errors, status
from edged.api.auth import Gate
from edged.api.native import events, facts
from edged.api.native import models as native_models
from edged.api.openai import chat, completions, embeddings, models
from edged.api.work import Api, Places
from edged.lifecycle.pool import Pool
from edged.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(pool: Pool, metrics: Metrics) -> Flask:
    """A WSGI application that serves the pool's models, by whichever configuration is in force."""
    app = Flask("edged", static_folder=None)
    app.url_map.merge_slashes = False  # a path with extra slashes is a wrong path, not a redirect
    api = Api(pool, metrics, Places())
    for module in (models, embeddings, chat, completions, facts, events, native_models, status):
        app.register_blueprint(module.routes(api))
    errors.register(app)
    _watch_requests(app, api)
    return app


def _watch_requests(app: Flask, api: Api) -> None:
    """Let requests in or refuse them, name them, and note how they ended."""
    gate_of = functools.lru_cache(maxsize=1)(Gate.of)

    @app.before_request
    def begin() -> None:
        g.began_s = time.monotonic()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        config = api.config
        request.max_content_length = int(config.server.max_body)
        gate_of(config.access).check(request.environ)

    @app.after_request
    def end(response: Response) -> Response:
        began_s, request_id = g.began_s, g.request_id
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        method, path = request.method, request.path
        response.headers["X-Request-Id"] = request_id

        @response.call_on_close
        def ended() -> None:
            duration_s = time.monotonic() - began_s
            api.metrics.answered(endpoint, response.status_code, duration_s)
            log.debug(
                "%s %s %d %.3f s",
                *(method, path, response.status_code, duration_s),
                extra={"REQUEST_ID": request_id},
            )

        return response
