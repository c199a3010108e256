"""The fuzzer finds what it is there to find."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.api.fuzzing import fuzz

_STATUS = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
_TAKES = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}},
    "required": ["n"],
    "additionalProperties": False,
}
# What is sent, by path; each but the first is not what is described.
_ANSWERS: dict[str, tuple[int, str, bytes]] = {
    "/right": (200, "application/json", b'{"status": "ok"}'),
    "/crash": (500, "application/json", b"{}"),
    "/status": (418, "application/json", b'{"status": "ok"}'),
    "/shape": (200, "application/json", b'{"status": "good"}'),
    "/type": (200, "text/html", b"ok"),
    "/lines": (200, "application/x-ndjson", b'{"status": "ok"}\n{"status": "lost"}\n'),
    "/events": (200, "text/event-stream", b'data: {"status": "lost"}\n\ndata: [DONE]\n\n'),
    "/lax": (200, "application/json", b'{"status": "ok"}'),  # whatever it is asked
}


def _described() -> bytes:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": _STATUS}
    event = {"type": "object", "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}}}
    content = {
        "application/json": {"schema": _STATUS},
        "application/x-ndjson": {"schema": _STATUS},
        "text/event-stream": {"schema": event},
    }
    operation: dict[str, Any] = {"responses": {"200": {"description": "OK", "content": content}}}
    body = {"required": True, "content": {"application/json": {"schema": _TAKES}}}
    paths: dict[str, Any] = {path: {"get": operation} for path in _ANSWERS if path != "/lax"}
    paths["/lax"] = {"post": operation | {"requestBody": body}}
    info = {"title": "wrong", "version": "1"}
    return json.dumps({"openapi": "3.1.0", "info": info, "paths": paths, "components": {}}).encode()


class _Wrong(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._refuse() if self.path == "/lax" else self._answer()

    def _answer(self) -> None:
        answers = _ANSWERS | {"/openapi.json": (200, "application/json", _described())}
        self._send(*answers.get(self.path, (404, "application/json", b"{}")))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer() if self.path == "/lax" else self._refuse()

    def _refuse(self) -> None:
        self._send(405, "application/json", b"{}")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_QUERY = _refuse  # noqa: N815

    def _send(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Allow", "POST" if self.path == "/lax" else "GET")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture
def wrong_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Wrong)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_finds_each_way_of_being_wrong(wrong_server: str) -> None:
    found = fuzz(wrong_server, n_examples=5, seed=1).problems
    assert set(found) == {
        "GET /crash: not_a_server_error",
        "GET /crash: status_code_conformance",
        "GET /status: status_code_conformance",
        "GET /shape: response_schema_conformance",
        "GET /type: content_type_conformance",
        "GET /lines: stream",
        "GET /events: response_schema_conformance",
        "POST /lax: negative_data_rejection",
    }
    assert f"POST {wrong_server}/lax" in found["POST /lax: negative_data_rejection"]
