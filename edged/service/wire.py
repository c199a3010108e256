"""The shape of errors, without a web framework: some are answered before or below the application."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import msgspec

_OLLAMAS = "/api/"


def error_body(path: str, message: str, kind: str, code: str, param: str | None = None) -> bytes:
    """JSON as a path's clients expect it: `{"error": message}` on ollama's, else OpenAI's object."""
    if path.startswith(_OLLAMAS):
        return msgspec.json.encode({"error": message})
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


class Problem(msgspec.Struct, frozen=True):
    """An error answer."""

    status: int
    kind: str
    code: str
    message: str
    retry_after_s: int | None = None
    allow: str | None = None

    def respond(self, path: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a WSGI request to `path` with it."""
        body = error_body(path, self.message, self.kind, self.code)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(self.retry_after_s)))
        if self.allow is not None:
            headers.append(("Allow", self.allow))
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", headers)
        return [body]
