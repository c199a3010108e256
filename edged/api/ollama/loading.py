"""Requests without a prompt, by which ollama's clients load and unload models."""

from collections.abc import Callable

from flask import Response

from edged.api.ready import Asking
from edged.api.work import Api, Call


def load_or_unload(api: Api, call: Call, write: Callable[..., bytes], shown: str) -> Response:
    """Load the model and wait for that; with `keep_alive: 0` unload it once its requests are answered."""
    if call.keep_alive_s == 0:
        if api.pool.status(call.model).state in ("loading", "ready"):
            api.pool.keep(call.model, 0.0)
        reason = "unload"
    else:
        Asking(api, call, lambda handle: handle).wait()
        reason = "load"
    return Response(write(shown, done=True, done_reason=reason), mimetype="application/json")
