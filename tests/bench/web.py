"""One HTTP request on a connection of its own, to a program on this machine."""

import http.client
import json
from typing import Any

TIMEOUT_S = 120.0


def request(port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """GET, or POST with a JSON body. Returns status and body.

    Raises OSError or HTTPException when nobody answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def shown(body: bytes) -> str:
    """The start of an answer, for an error message."""
    return body[:500].decode(errors="replace")
