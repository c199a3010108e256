"""Nothing that a client sends in a body or as a key is ever logged, at no level and by no module."""

import logging
import re

import pytest

from tests.api.conftest import Serve, chat_body

MARKER = "xyzzy-marker-plugh"
KEY = f"key-{MARKER}-0123456789"


def test_no_prompt_and_no_key_reaches_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        running = serve(
            {
                "chat": "fake:generate",
                "embed": "fake:embed",
                "crash": "fake:generate?crash_after=0",
                "full": "fake:generate?full=1",
            },
            access={"api_keys": (KEY,)},
        )
        key = {"Authorization": f"Bearer {KEY}"}
        text = f"{MARKER} {MARKER}"
        asked = [
            ("/v1/chat/completions", chat_body(text), 200),
            ("/v1/chat/completions", chat_body(text, stream=True), 200),
            ("/v1/chat/completions", chat_body(text, temperature=MARKER), 400),
            ("/v1/chat/completions", chat_body(text * 99), 400),
            ("/v1/chat/completions", {**chat_body(text), "model": "full"}, 429),
            ("/v1/chat/completions", {**chat_body(text), "model": "crash"}, 500),
            ("/v1/chat/completions", {**chat_body(text), "model": MARKER}, 404),
            ("/v1/completions", {"model": "chat", "prompt": text}, 200),
            ("/v1/embeddings", {"model": "embed", "input": [text, text]}, 200),
            ("/v1/embeddings", f'{{"input": "{MARKER}'.encode(), 400),
        ]
        for path, body, status in asked:
            assert running.post(path, body, key).status == status, (path, body)
        for wrong in (f"Bearer {KEY}x", f"Basic {KEY}", KEY):
            assert running.get("/v1/models", Authorization=wrong).status == 401
        assert running.get(f"/v1/models?q={MARKER}", **key).status == 200
    assert any(re.search("/v1/embeddings 200", record.getMessage()) for record in caplog.records)
    for record in caplog.records:
        assert MARKER not in f"{vars(record)}{record.getMessage()}", record
