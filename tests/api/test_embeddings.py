"""POST /v1/embeddings."""

import base64
import math
import struct
from typing import Any

import pytest

from edged.runner.fake_answers import unit_vector
from tests.api.conftest import Answer, Running, Serve


def embed(edged: Running, value: Any, **more: Any) -> Answer:
    return edged.post("/v1/embeddings", {"model": "embed", "input": value, **more})


@pytest.mark.parametrize(
    ("value", "lengths"),
    [
        ("abc", [3]),
        (["abc"], [3]),
        (["abc", "de", "ü"], [3, 2, 1]),
        ([1, 2, 3, 4], [4]),
        ([[1, 2, 3], [4, 5]], [3, 2]),
        (" ", [1]),
        ("x" * 63, [63]),
    ],
)
def test_inputs_keep_their_order(edged: Running, value: Any, lengths: list[int]) -> None:
    answer = embed(edged, value).json()
    assert [item["index"] for item in answer["data"]] == list(range(len(lengths)))
    for item, length in zip(answer["data"], lengths, strict=True):
        assert item["embedding"] == pytest.approx(unit_vector(length, 4), rel=1e-6)
    assert answer["usage"] == {"prompt_tokens": sum(lengths), "total_tokens": sum(lengths)}
    assert (answer["object"], answer["model"]) == ("list", "embed")


def test_base64_is_the_raw_floats(edged: Running) -> None:
    item = embed(edged, "abc", encoding_format="base64").json()["data"][0]
    assert struct.unpack("<4f", base64.b64decode(item["embedding"])) == pytest.approx(unit_vector(3, 4))
    plain = embed(edged, "abc", encoding_format="float").json()["data"][0]
    assert struct.pack("<4f", *plain["embedding"]) == base64.b64decode(item["embedding"])


def test_openai_client(edged: Running) -> None:
    with edged.client() as client:
        answer = client.embeddings.create(model="embed", input=["abc", "de"])
        assert answer.data[0].embedding == pytest.approx(unit_vector(3, 4))
        assert answer.usage.total_tokens == 5


def test_too_long_is_refused_or_cut(edged: Running) -> None:
    answer = embed(edged, ["fine", "x" * 100])
    assert answer.status == 400
    assert answer.error["param"] == "input"
    assert "input[1]: 100 tokens" in answer.error["message"]
    assert embed(edged, ["fine", "x" * 100], truncate=True).json()["usage"]["total_tokens"] == 4 + 64


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("", "input"),
        ([], "input"),
        (None, "input"),
        ({}, "input"),
        (5, "input"),
        (True, "input"),
        (["a", ""], "input[1]"),
        (["a", None], "input[1]"),
        (["a", 5], "input"),
        ([["a"]], "input[0][0]"),
        ([[]], "input[0]"),
        ([[1], []], "input[1]"),
        ([1, "a"], "input"),
        (["a", [1]], "input"),
        ([1, [1]], "input"),
        ([1, -1], "input[1]"),
        ([1, 2.0], "input[1]"),
        ([1, True], "input[1]"),
        ([2**31], "input[0]"),
        ([10**30], "input[0]"),
        ([[1, [2]]], "input[0][1]"),
        ([{}], "input[0]"),
        (["a"] * 2049, "input"),
    ],
)
def test_what_is_no_input_is_refused(edged: Running, value: Any, named: str) -> None:
    answer = embed(edged, value)
    assert answer.status == 400
    assert answer.error["param"] == named
    assert answer.error["message"].startswith(f"{named}: ")


def test_as_many_inputs_as_openai_takes(edged: Running) -> None:
    assert len(embed(edged, ["a"] * 2048).json()["data"]) == 2048


def test_dimensions_must_be_the_models(edged: Running) -> None:
    assert embed(edged, "a", dimensions=4).status == 200
    answer = embed(edged, "a", dimensions=3)
    assert (answer.status, answer.error["param"]) == (400, "dimensions")
    assert "have 4, not 3" in answer.error["message"]
    assert "models.<id>.matryoshka" in answer.error["message"]


def test_vectors_that_may_be_cut_are_units_again(serve: Serve) -> None:
    edged = serve({"embed": "fake:embed?n_embd=4"}, model={"matryoshka": True})
    unit = [value / math.hypot(3, 1) for value in (3, 1)]
    assert embed(edged, "abc", dimensions=2).json()["data"][0]["embedding"] == pytest.approx(unit)
    item = embed(edged, "abc", dimensions=2, encoding_format="base64").json()["data"][0]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == pytest.approx(unit)
    assert embed(edged, "abc", dimensions=4).json() == embed(edged, "abc").json()
    answer = embed(edged, "abc", dimensions=5)
    assert (answer.status, answer.error["param"]) == (400, "dimensions")


@pytest.mark.parametrize(
    ("field", "value"), [("encoding_format", "hex"), ("dimensions", 0), ("truncate", "yes"), ("inputs", "a")]
)
def test_wrong_fields_are_named(edged: Running, field: str, value: Any) -> None:
    answer = embed(edged, "a", **{field: value})
    assert (answer.status, answer.error["param"]) == (400, field)
