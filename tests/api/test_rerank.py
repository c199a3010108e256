"""POST /v1/rerank, by a cross-encoder and by embeddings."""

import math
from typing import Any

import pytest

from tests.api.conftest import Json, Running, Serve

DOCUMENTS = ["no match", "red and green", "green"]


@pytest.fixture
def ranking(serve: Serve) -> Running:
    """A cross-encoder, an embedding model and a chat model."""
    return serve({"cross": "fake:rank", "embed": "fake:embed?n_embd=4", "chat": "fake:generate"})


def rerank(edged: Running, model: str, path: str = "/v1/rerank", **more: Any) -> Json:
    body = {"model": model, "query": "red green", "documents": DOCUMENTS, **more}
    answer: Json = edged.post(path, body).json()
    return answer


def test_a_cross_encoders_scores_best_first(ranking: Running) -> None:
    answer = rerank(ranking, "cross")
    assert (answer["object"], answer["model"]) == ("list", "cross")
    assert [(each["index"], each["relevance_score"]) for each in answer["results"]] == [
        (1, 2),
        (2, 1),
        (0, 0),
    ]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/reranking"])
def test_llama_cpps_names_and_its_only_model(ranking: Running, path: str) -> None:
    body = {"query": "red green", "documents": DOCUMENTS}
    assert ranking.post(path, body).json()["results"] == rerank(ranking, "cross")["results"]


def test_an_embedding_model_compares_vectors(ranking: Running) -> None:
    """The fake's vectors are made of lengths: the same length is the same vector."""
    results = rerank(ranking, "embed", query="x" * 5, documents=["y" * 50, "y" * 5])["results"]
    assert [each["index"] for each in results] == [1, 0]
    assert math.isclose(results[0]["relevance_score"], 1.0, rel_tol=1e-6)
    assert results[1]["relevance_score"] < 1.0


def test_how_many_and_with_their_texts(ranking: Running) -> None:
    told = rerank(ranking, "cross", documents=[{"text": "red"}, "blue"], top_n=1, return_documents=True)
    assert told["results"] == [{"index": 0, "relevance_score": 1.0, "document": {"text": "red"}}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "chat"}, "model"),
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": ["a", {"image": "x"}]}, "documents[1].image"),
        ({"documents": ["a"] * 1025}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 100}, "max_tokens_per_doc"),
        ({"model": "embed", "documents": ["a", "x" * 99]}, "documents[1]"),
        ({"model": "embed", "query": "x" * 99}, "query"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_its_place(ranking: Running, fields: Json, param: str) -> None:
    body = {"model": "cross", "query": "a", "documents": ["a"], **fields}
    answer = ranking.post("/v1/rerank", body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert answer.error["message"].startswith(f"{param}: ")


def test_texts_are_cut_where_that_is_asked_for(ranking: Running) -> None:
    for model in ("embed", "cross"):
        assert len(rerank(ranking, model, documents=["a", "x" * 99], truncate=True)["results"]) == 2
