"""JSON that no client of good will sends: huge numbers, deep nesting, strange text; to every endpoint."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.api.app import ENDPOINTS
from edged.api.endpoint import Endpoint
from tests.api.conftest import Json, Running, start, stop
from tests.api.fuzzing import FAKES

TAKING = tuple(each for each in ENDPOINTS if each.request is not None and each.example is not None)
JSON = {"Content-Type": "application/json"}
# As they are written: Python's json would not write most of these.
NUMBERS = (
    *("1e400", "-1e400", "1e-400", "-0", "-0.0", "0.1e1", "1E+2", "1e308", "5e-324"),
    *(
        str(2**31),
        str(2**32),
        str(2**53 + 1),
        str(2**63),
        str(-(2**63) - 1),
        str(2**64),
        "9" * 400,
        "9" * 5000,
    ),
    *("0." + "1" * 400, "01", "+1", "1.", ".5", "0x10", "1_0", "NaN", "Infinity", "-Infinity"),
)
TEXTS = (
    *(r'"\u0000"', r'"\ud800"', r'"\udfff\ud800"', r'"\ud83d\ude00"', '"\U0001f600"', r'"\uffff\ufdd0"'),
    *('"\u202e\u2066\ufeff"', '"a\u0300"', r'"\x"', '"\t"', '"', '""', '" "', '"' + "x" * 50_000 + '"'),
)
OTHERS = (
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    '{"": ""}',
    "[null]",
    '{"a": 1, "a": 2}',
    "[" + "1," * 20_000 + "1]",
)
DEPTHS = (64, 990, 1010, 12_000)
HOSTILE = (
    *(*NUMBERS, *TEXTS, *OTHERS),
    *("[" * depth + "]" * depth for depth in DEPTHS),
    *('{"a":' * depth + "1" + "}" * depth for depth in DEPTHS),
)


@pytest.fixture(name="fakes", scope="module")
def _fakes() -> Iterator[Running]:
    running = start(FAKES)
    yield running
    stop(running)


def with_field(endpoint: Endpoint, name: str, raw: str) -> bytes:
    """The endpoint's own example, in which one field has a value that is written like this."""
    others = {key: value for key, value in {**endpoint.example, "max_tokens": 2}.items() if key != name}
    known = {*_fields(endpoint)}
    body = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in others.items() if key in known]
    return ("{" + ", ".join([*body, f"{json.dumps(name)}: {raw}"]) + "}").encode()


def _fields(endpoint: Endpoint) -> tuple[str, ...]:
    assert endpoint.request is not None
    return (*endpoint.request.__struct_fields__, *endpoint.harmless, *endpoint.refused)


@pytest.mark.parametrize("endpoint", TAKING, ids=lambda endpoint: endpoint.path)
@given(drawn=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_strange_value_is_understood_or_refused(fakes: Running, endpoint: Endpoint, drawn: Any) -> None:
    name = drawn.draw(st.sampled_from(_fields(endpoint)))
    raw = drawn.draw(st.sampled_from(HOSTILE))
    answered(fakes, endpoint, with_field(endpoint, name, raw))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("endpoint", TAKING, ids=lambda endpoint: endpoint.path)
def test_nesting_is_understood_or_refused(fakes: Running, endpoint: Endpoint, depth: int) -> None:
    for raw in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        for name in ("unheard_of", _fields(endpoint)[0], _fields(endpoint)[-1]):
            assert answered(fakes, endpoint, with_field(endpoint, name, raw)) in (200, 400)


def answered(fakes: Running, endpoint: Endpoint, body: bytes) -> int:
    """Send this; the status, of an answer that says what is wrong if something is."""
    answer = fakes.call(endpoint.method, endpoint.path, body, JSON)
    assert answer.status in (endpoint.status, 400, 404), (body[:300], answer.body)
    if answer.status >= 400:
        said = answer.json()["error"]
        assert said if isinstance(said, str) else said["message"]
    return answer.status


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: text.split()
)
ASKING: dict[str, Any] = {
    "/v1/chat/completions": lambda text: {
        "model": "smollm2",
        "messages": [{"role": "user", "content": text}],
    },
    "/v1/completions": lambda text: {"model": "smollm2", "prompt": text},
    "/v1/responses": lambda text: {"model": "smollm2", "input": text},
    "/api/chat": lambda text: {
        "model": "smollm2",
        "messages": [{"role": "user", "content": text}],
        "stream": False,
    },
    "/api/generate": lambda text: {"model": "smollm2", "prompt": text, "stream": False},
}


def said(path: str, answer: Json) -> str:
    """The text of an answer."""
    match path:
        case "/v1/chat/completions":
            return str(answer["choices"][0]["message"]["content"])
        case "/v1/completions":
            return str(answer["choices"][0]["text"])
        case "/v1/responses":
            return str(answer["output"][-1]["content"][0]["text"])
        case "/api/chat":
            return str(answer["message"]["content"])
        case _:
            return str(answer["response"])


@pytest.mark.parametrize("path", ASKING)
@given(text=WORDS, is_escaped=st.booleans())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_comes_back_as_it_was_sent(fakes: Running, path: str, text: str, is_escaped: bool) -> None:
    body = json.dumps(ASKING[path](text), ensure_ascii=is_escaped).encode()
    answer = fakes.call("POST", path, body, JSON)
    assert answer.status == 200, answer.body
    assert said(path, answer.json()) == " ".join(text.split())


@given(name=st.binary(min_size=1, max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_strange_paths_are_unknown(fakes: Running, name: bytes) -> None:
    for folder in ("/v1/models/", "/edged/v1/models/", "/"):
        answer = fakes.get(folder + quote_from_bytes(name, safe=""))
        assert answer.status in (400, 403, 404, 405), (name, answer.body)
        assert answer.json()["error"]
