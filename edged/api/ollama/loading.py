"""Requests without a prompt, by which ollama's clients load and unload models."""

from collections.abc import Callable

from flask import Response

from edged.api.ready import Asking
from edged.api.work import Api, Call
from edged.errors import InvalidRequest


def load_or_unload(api: Api, call: Call, write: Callable[..., bytes], shown: str) -> Response:
    """Load the model and wait for that; with `keep_alive: 0` unload it once its requests are answered.

    Raises InvalidRequest for a model that is never unloaded.
    """
    if call.keep_alive_s == 0:
        status = api.pool.status(call.model)
        if status.pinned:
            raise InvalidRequest(
                f"keep_alive: {call.model} is pinned; set models.{call.model}.pinned to false to unload it",
                "keep_alive",
            )
        if status.state in ("loading", "ready"):
            _unload(api, call.model)
        reason = "unload"
    else:
        Asking(api, call, lambda handle: handle).wait()
        reason = "load"
    return Response(write(shown, done=True, done_reason=reason), mimetype="application/json")


def _unload(api: Api, model: str) -> None:
    """At once where nobody waits for an answer of it, else after the last one."""
    if api.pool.handles[model].residence.is_busy:
        api.pool.keep(model, 0.0)
    else:
        api.pool.unload(model)
