"""The shape of errors, without a web framework: some are answered before or below the application."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

REQUEST_ID = "X-Request-Id"  # a header of every answer but /livez's
_OLLAMAS = "/api/"
_FIT_FOR_A_LOG = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong."""

    message: str  # and what to change
    type: str
    param: str | None  # the field to change
    code: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """An error as OpenAI's clients expect it."""

    error: ErrorDetail


class OllamaError(msgspec.Struct, frozen=True):
    """An error as ollama's clients expect it."""

    error: str


def error_body(path: str, message: str, kind: str, code: str, param: str | None = None) -> bytes:
    """JSON as a path's clients expect it."""
    if path.startswith(_OLLAMAS):
        return msgspec.json.encode(OllamaError(message))
    return msgspec.json.encode(ErrorAnswer(ErrorDetail(message, kind, param, code)))


def request_id(given: str) -> str:
    """What a request is called: as its client calls it, where that is fit for a log."""
    return given if _FIT_FOR_A_LOG.fullmatch(given) else secrets.token_hex(8)


class Problem(msgspec.Struct, frozen=True):
    """An error answer."""

    status: int
    kind: str
    code: str
    message: str
    retry_after_s: int | None = None
    allow: str | None = None

    def respond(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a WSGI request with it."""
        body = error_body(environ["PATH_INFO"], self.message, self.kind, self.code)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            (REQUEST_ID, request_id(environ.get("HTTP_X_REQUEST_ID", ""))),
        ]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(self.retry_after_s)))
        if self.allow is not None:
            headers.append(("Allow", self.allow))
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", headers)
        return [body]
