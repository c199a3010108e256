"""Whatever a model writes when it has tools: no endpoint fails on it, whole or streamed."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Running

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "weather", "parameters": PARAMETERS}
NESTED = [{"type": "function", "function": FUNCTION}]
_MARKS = ("<tool_call>", "</tool_call>", "<tool_call", "<think>", "</think>")
_JSON = ('{"name": "weather", "arguments":', '{"city": "Rome"}', '{"city":', *'{}[]"\\')
_WORDS = st.lists(st.sampled_from([*_MARKS, *_JSON, "weather", "Hm.", "é"]), min_size=1, max_size=9)


def check(status: int, body: bytes, *, stream: bool) -> None:
    """It is no error, and every JSON in it parses."""
    text = body.decode()
    assert status == 200, text
    lines = text.splitlines() if stream else [text]
    events = [line.removeprefix("data: ") for line in lines if line.startswith(("data: ", "{"))]
    parsed = [json.loads(event) for event in events if event != "[DONE]"]
    assert parsed
    assert not any(each.get("error") for each in parsed), text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_WORDS, st.booleans())
def test_no_answer_is_too_odd(edged: Running, words: list[str], stream: bool) -> None:
    messages = [{"role": "user", "content": " ".join(words)}]
    asked: dict[str, Any] = {
        "/v1/chat/completions": {"messages": messages, "tools": NESTED},
        "/v1/responses": {"input": messages, "tools": [{"type": "function", **FUNCTION}]},
        "/api/chat": {"messages": messages, "tools": NESTED},
    }
    for path, body in asked.items():
        answer = edged.post(path, {"model": "chat", "stream": stream, **body})
        check(answer.status, answer.body, stream=stream)
