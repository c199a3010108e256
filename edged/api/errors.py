"""Every error as HTTP: one table from kinds to statuses, and the shape that clients of a path expect."""

import logging
import math
from collections.abc import Iterable
from http.client import responses
from typing import NamedTuple

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from edged.api.visit import Visit
from edged.errors import (
    EdgedError,
    InvalidRequest,
    ModelFileError,
    Overloaded,
    PullError,
    RunnerFailed,
    Unavailable,
    UnknownModel,
)
from edged.service.liveness import StartResponse
from edged.service.wire import error_body

log = logging.getLogger(__name__)


class Unsupported(InvalidRequest):
    """A field that would change the meaning of the answer, and that edged cannot honour."""


class Unauthorized(EdgedError):
    """The API key is missing or wrong."""


class Forbidden(EdgedError):
    """This client, or this way of addressing the machine, is not let in."""


class RateLimited(Overloaded):
    """This client asks for more than one client may."""


class ClientGone(EdgedError):
    """The client left before its answer was ready: nobody reads this."""


class Answer(NamedTuple):
    """A whole answer, but for what every answer has."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def begin(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI request with it."""
        length = ("Content-Length", str(len(self.body)))
        start_response(
            f"{self.status} {responses.get(self.status, 'Unknown')}",
            [*self.headers, length] if self.status != 204 else [*self.headers],
        )
        return [self.body]


class Row(NamedTuple):
    """What an error kind becomes."""

    status: int
    type: str
    code: str


JSON = ("Content-Type", "application/json")
INTERNAL = Row(500, "server_error", "internal_error")

# The most specific kind wins.
TABLE: dict[type[Exception], Row] = {
    InvalidRequest: Row(400, "invalid_request_error", "invalid_value"),
    Unsupported: Row(400, "invalid_request_error", "unsupported_parameter"),
    Unauthorized: Row(401, "authentication_error", "invalid_api_key"),
    Forbidden: Row(403, "permission_error", "access_denied"),
    UnknownModel: Row(404, "invalid_request_error", "model_not_found"),
    Overloaded: Row(429, "rate_limit_error", "overloaded"),
    RateLimited: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    ClientGone: Row(499, "invalid_request_error", "client_closed_request"),
    RunnerFailed: Row(500, "server_error", "runner_failed"),
    PullError: Row(502, "server_error", "pull_failed"),
    Unavailable: Row(503, "server_error", "unavailable"),
    ModelFileError: Row(503, "server_error", "model_unusable"),
}

_LEVELS = {401: logging.INFO, 403: logging.INFO, 500: logging.WARNING}

HTTP_TABLE: dict[int, Row] = {
    404: Row(404, "invalid_request_error", "unknown_url"),
    405: Row(405, "invalid_request_error", "method_not_allowed"),
    413: Row(413, "invalid_request_error", "body_too_large"),
}


def row_of(error: Exception) -> Row:
    """The table's row for an error."""
    if isinstance(error, HTTPException):
        return HTTP_TABLE.get(
            error.code or 500, Row(error.code or 500, "invalid_request_error", "bad_request")
        )
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def body_of(error: EdgedError, path: str = "") -> bytes:
    """The error's JSON for an event in a stream, in the shape of `path`."""
    return _body(error, str(error), path)


def answer_to(error: Exception, visit: Visit) -> Answer:
    """An error's answer. What was not foreseen is logged, and shown to the client as no more than that."""
    row = row_of(error)
    _log(error, row, visit)
    headers = [JSON]
    if isinstance(error, Overloaded | Unavailable):
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after_s)))))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers.append(("Allow", ", ".join(sorted(error.valid_methods))))
    if isinstance(error, Unauthorized):
        headers.append(("WWW-Authenticate", "Bearer"))
    return Answer(row.status, tuple(headers), _body(error, _message(error, visit), visit.path))


def register(app: Flask) -> None:
    """Answer every error of `app` in this way."""

    @app.errorhandler(Exception)
    def respond(error: Exception) -> Response:
        answer = answer_to(error, Visit.of(request.environ))
        return Response(answer.body, answer.status, answer.headers)


def _log(error: Exception, row: Row, visit: Visit) -> None:
    """What the operator is to read, with the id that the client was told: what failed, who was refused."""
    level = logging.ERROR if row is INTERNAL else _LEVELS.get(row.status)
    if level is None:
        return
    log.log(
        level,
        "%s %s from %s (request %s): %s",
        *(visit.method, visit.path, visit.client, visit.request_id),
        "an internal error" if row is INTERNAL else error,
        exc_info=error if row is INTERNAL else None,
        extra={"REQUEST_ID": visit.request_id, "CLIENT": visit.client},
    )


def _body(error: Exception, message: str, path: str) -> bytes:
    row = row_of(error)
    param = error.param if isinstance(error, InvalidRequest) else None
    return error_body(path, message, row.type, row.code, param)


def _message(error: Exception, visit: Visit) -> str:
    if isinstance(error, EdgedError):
        return str(error)
    if isinstance(error, MethodNotAllowed):
        return f"{visit.path} does not take {visit.method}; see the Allow header"
    if isinstance(error, HTTPException) and error.code == 404:
        return f"there is nothing at {visit.path}; /docs lists what there is, and /v1/models the models"
    if isinstance(error, HTTPException):
        return error.description or error.name
    return f"an internal error; the log has it under request id {visit.request_id}"
