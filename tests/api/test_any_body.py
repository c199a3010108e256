"""Whatever a client sends as JSON, it is either understood or refused by name; nothing else is raised."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.api.body import parse_fields
from edged.api.openai.chat import take_messages
from edged.api.openai.completions import take_prompt
from edged.api.openai.generation import take_stream
from edged.api.openai.inputs import parse_input
from edged.api.openai.sampling import LengthFields, SamplingFields, take_length, take_sampling
from edged.errors import InvalidRequest
from edged.runner import protocol

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800")
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_MESSAGE = st.fixed_dictionaries({"role": st.just("user") | _JSON, "content": _JSON}) | _JSON
_NAMES = (*SamplingFields.__struct_fields__, *LengthFields.__struct_fields__, "stream", "stream_options")
_BODY = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_NAMES, _JSON),
        "messages": st.lists(_MESSAGE, max_size=3) | _JSON,
        "prompt": _JSON,
        "input": _JSON,
    },
)


def understood(body: dict[str, Any]) -> list[protocol.ToRunner]:
    """What the endpoints would make of these fields. Raises InvalidRequest."""
    fields = parse_fields(json.dumps(body).encode())
    text, tokens = take_prompt(fields) if "prompt" in fields else (None, None)
    texts, token_lists = parse_input(fields.pop("input")) if "input" in fields else ((), ())
    messages = take_messages(fields) if "messages" in fields else None
    sampling = take_sampling(fields)
    max_tokens, stop = take_length(fields)
    take_stream(fields)
    return [
        protocol.Generate(id=1, messages=messages, sampling=sampling, max_tokens=max_tokens, stop=stop),
        protocol.Generate(id=2, text=text, tokens=tokens),
        protocol.Embed(id=3, texts=texts, token_lists=token_lists),
    ]


@given(_BODY)
@settings(max_examples=300, deadline=None)
def test_any_json_is_understood_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        for frame in understood(body):
            protocol.pack(frame)


@given(st.binary() | st.text().map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse_fields(body), dict)
