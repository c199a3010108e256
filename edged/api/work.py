"""What all working endpoints share: places, deadlines, and noticing that a client has gone."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import msgspec
from flask import Response, make_response

from edged.api.errors import ClientGone
from edged.api.keep_alive import keep_alive_s
from edged.config.schema import Config
from edged.errors import InvalidRequest, Overloaded, Unavailable
from edged.lifecycle.pool import Pool
from edged.lifecycle.pulls import Pulls
from edged.policy.types import Kind
from edged.service.liveness import Environ
from edged.telemetry.metrics import Metrics

POLL_S = 0.25  # how soon a client that has gone is noticed while nothing is sent to it
WAIT_HEADER = "X-Edged-Wait"
_WAIT_VARIABLE = "HTTP_X_EDGED_WAIT"
_LONGEST_WAIT_S = 24 * 3600
_DOES: dict[str | None, str] = {
    "generate": "generates text",
    "embed": "makes embeddings (/v1/embeddings)",
    "rank": "ranks documents (/v1/rerank)",
}


class Patience:
    """How long a request may take, and whether anybody still waits for its answer."""

    def __init__(self, timeout_s: float, wait_s: float, client_has_gone: Callable[[], bool]) -> None:
        """`wait_s` of `timeout_s` may go by until the model answers at all."""
        self.began = time.monotonic()
        self.deadline = self.began + timeout_s
        self.ready_by = self.began + min(wait_s, timeout_s)
        self._client_has_gone = client_has_gone

    @property
    def waited_s(self) -> float:
        """Time since the request came."""
        return time.monotonic() - self.began

    def check(self) -> None:
        """Raises ClientGone, or Unavailable after the deadline."""
        if self._client_has_gone():
            raise ClientGone("the client has gone")
        if time.monotonic() > self.deadline:
            raise Unavailable(
                "it took longer than server.request_timeout allows: raise that, or ask for less", 1.0
            )


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What every request to a model says, whatever it wants of it."""

    model: str
    patience: Patience
    keep_alive_s: float | None  # how long the model stays loaded when nobody asks it any more


class Places:
    """How many requests are worked on at once. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_taken = 0

    def take(self, most: int) -> bool:
        """Take one of so many; False when none is free."""
        with self._lock:
            if self._n_taken >= most:
                return False
            self._n_taken += 1
            return True

    def give_back(self) -> None:
        """Give one back."""
        with self._lock:
            self._n_taken -= 1


@dataclass(frozen=True)
class Api:
    """What endpoints work with."""

    pool: Pool
    metrics: Metrics
    places: Places
    pulls: Pulls

    @property
    def config(self) -> Config:
        """The configuration in force; a reload replaces it."""
        return self.pool.config

    def patience(self, environ: Environ) -> Patience:
        """The patience of a WSGI request, counted from now. Raises InvalidRequest."""
        config = self.config
        wait_s = _wait_s(environ.get(_WAIT_VARIABLE))
        return Patience(
            config.server.request_timeout,
            config.loading.request_wait if wait_s is None else wait_s,
            client_has_gone(environ),
        )

    def working(self, view: Callable[..., Any]) -> Callable[..., Response]:
        """A view that takes one of `server.max_requests` places until its answer is sent to the last byte."""

        @wraps(view)
        def limited(*args: Any, **named: Any) -> Response:
            self._take()
            try:
                response = make_response(view(*args, **named))
            except BaseException:
                self._give_back()
                raise
            response.call_on_close(self._give_back)
            return response

        return limited

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for as long as this lasts. Raises Unavailable or Overloaded."""
        self._take()
        try:
            yield
        finally:
            self._give_back()

    def _take(self) -> None:
        if self.pool.draining:
            raise Unavailable("edged is shutting down; try again when it is back", 5.0)
        most = self.config.server.max_requests
        if not self.places.take(most):
            raise Overloaded(f"{most} requests are being worked on, all that server.max_requests allows", 1.0)
        self.metrics.request_began()

    def _give_back(self) -> None:
        self.places.give_back()
        self.metrics.request_ended()

    def call(self, model: Any, kind: Kind | None, patience: Patience, keep_alive: Any = None) -> Call:
        """What the request's fields `model`, of this kind (None: of any), and `keep_alive` say.

        Raises InvalidRequest or UnknownModel.
        """
        if not isinstance(model, str):
            problem = "is missing" if model is None else "is not a string"
            raise InvalidRequest(f"model: {problem}; {self._which(kind)}", "model")
        found = self.pool.status(model).kind
        if kind is not None and found not in (kind, None):  # of an unknown kind: its load says what is wrong
            raise InvalidRequest(f"model: {model} {_DOES[found]}; {self._which(kind)}", "model")
        return Call(model=model, patience=patience, keep_alive_s=keep_alive_s(keep_alive))

    def _which(self, kind: Kind | None) -> str:
        fitting = [status.model for status in self.pool.statuses() if kind in (None, status.kind)]
        return f"{kind or 'all'} models here: {', '.join(fitting) or 'none'}"


def client_has_gone(environ: Environ) -> Callable[[], bool]:
    """What tells whether a WSGI request's client has left."""
    has_gone: Callable[[], bool] = environ.get("waitress.client_disconnected", lambda: False)
    return has_gone


def _wait_s(header: str | None) -> float | None:
    """Seconds that a client is willing to wait for its model to load; None where it does not say."""
    if header is None:
        return None
    try:
        wait_s = float(header)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s <= _LONGEST_WAIT_S:
        raise InvalidRequest(
            f"{WAIT_HEADER}: is no number of seconds between 0 and {_LONGEST_WAIT_S}", WAIT_HEADER
        )
    return wait_s
