"""JSON over a connection that somebody else has made."""

import http.client
import json
from typing import Any


def call(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, key: str | None = None
) -> tuple[int, Any]:
    """Status and JSON (or text) of one request; closes the connection."""
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        raw = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(raw) if is_json else raw.decode()
    finally:
        connection.close()
