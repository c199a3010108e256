"""POST /v1/rerank, in the shape of Jina and Cohere, and under the other names that llama.cpp's server has."""

import re
from collections.abc import Callable, Sequence
from operator import mul
from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from edged.api import fields
from edged.api.answer import json_answer
from edged.api.body import read_request
from edged.api.endpoint import Endpoint, Refused
from edged.api.llamacpp.which import model_of
from edged.api.openai.inputs import Text
from edged.api.ready import Asking
from edged.api.vectors import vectors_of
from edged.api.work import Api, Patience
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

_MAX_DOCUMENTS = 1024
_PLACE = re.compile(r"input\[(\d+)\]")


class Document(Struct, kw_only=True, forbid_unknown_fields=True):
    """A text to rank."""

    text: Text


class RerankRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to look for, and where."""

    model: Annotated[
        fields.Model | None,
        Meta(
            description="A cross-encoder, or an embedding model; none: the only cross-encoder that there is."
        ),
    ] = None
    query: Annotated[Text, Meta(description="What the documents are to answer.")]
    documents: Annotated[
        Annotated[list[Text | Document], Meta(min_length=1, max_length=_MAX_DOCUMENTS)],
        Meta(description="The texts to rank."),
    ]
    top_n: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Tell only of so many of the best; all by default."),
    ] = None
    return_documents: Annotated[bool | None, Meta(description="Repeat the texts in the answer.")] = None
    truncate: Annotated[
        bool | None,
        Meta(description="Cut texts that are too long instead of refusing them."),
    ] = None
    keep_alive: fields.KeepAlive | None = None


class Ranked(Struct, frozen=True, kw_only=True):
    """A document by its place in the request. Scores are cosines of embeddings, or a cross-encoder's own."""

    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class RerankUsage(Struct, frozen=True, kw_only=True):
    """Tokens of all texts, the query's with each document where a cross-encoder reads them together."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(Struct, frozen=True, kw_only=True):
    """The documents, best first."""

    model: str
    object: Literal["list"] = "list"
    usage: RerankUsage
    results: tuple[Ranked, ...]


RERANK = Endpoint(
    method="POST",
    path="/v1/rerank",
    family="openai",
    summary="Rank documents by how well they answer a query, by a cross-encoder or by embeddings.",
    request=RerankRequest,
    harmless={"user": "Nobody is watched here."},
    refused={
        "max_tokens_per_doc": Refused("texts are cut at the model's limit or not at all; send truncate."),
    },
    answer=RerankAnswer,
    example={
        "model": "minilm",
        "query": "What do people eat?",
        "documents": ["A man is eating food.", "A plane is taking off."],
        "top_n": 1,
    },
)
RERANKING = structs.replace(RERANK, path="/v1/reranking", family="llama.cpp")
BARE_RERANK = structs.replace(RERANK, path="/rerank", family="llama.cpp")
BARE_RERANKING = structs.replace(RERANK, path="/reranking", family="llama.cpp")

_Scored = tuple[Sequence[float], int]  # of each document, and tokens


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("rerank", __name__)

    @blueprint.post(RERANK.path)
    @blueprint.post(RERANKING.path)
    @blueprint.post(BARE_RERANK.path)
    @blueprint.post(BARE_RERANKING.path)
    @api.working
    def rerank() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, RERANK, RerankRequest)
        call = api.call(model_of(api, wanted.model, "rank"), None, patience, wanted.keep_alive)
        if api.pool.status(call.model).kind == "generate":
            raise InvalidRequest(
                f"model: {call.model} generates text; send a cross-encoder or an embedding model", "model"
            )
        scores, n_tokens = Asking(api, call, _scoring(wanted, patience)).wait()
        api.metrics.tokens(call.model, prompt=n_tokens)
        usage = RerankUsage(prompt_tokens=n_tokens, total_tokens=n_tokens)
        return json_answer(RerankAnswer(model=call.model, usage=usage, results=_ranked(wanted, scores)))

    return blueprint


def _scoring(wanted: RerankRequest, patience: Patience) -> Callable[[RunnerHandle], _Scored]:
    """What asks a model for the scores, in whichever way it can give them."""
    documents = tuple(map(_text, wanted.documents))

    def rank(handle: RunnerHandle) -> _Scored:
        asked = protocol.Rank(id=0, query=wanted.query, documents=documents, truncate=bool(wanted.truncate))
        ranked = handle.rank(asked, patience.deadline, patience.check)
        return ranked.scores, ranked.n_tokens

    def compare(handle: RunnerHandle) -> _Scored:
        texts = (wanted.query, *documents)
        embed = protocol.Embed(id=0, texts=texts, truncate=bool(wanted.truncate))
        try:
            frame = handle.embed(embed, patience.deadline, patience.check)
        except InvalidRequest as error:
            raise _named(error) from error
        query, *vectors = vectors_of(frame, None)
        return [sum(map(mul, query, vector)) for vector in vectors], sum(frame.n_tokens)

    return lambda handle: rank(handle) if handle.plan.kind == "rank" else compare(handle)


def _ranked(wanted: RerankRequest, scores: Sequence[float]) -> tuple[Ranked, ...]:
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: wanted.top_n]
    return tuple(
        Ranked(
            index=index,
            relevance_score=scores[index],
            document=Document(text=_text(wanted.documents[index])) if wanted.return_documents else UNSET,
        )
        for index in best
    )


def _text(document: str | Document) -> str:
    return document if isinstance(document, str) else document.text


def _named(error: InvalidRequest) -> InvalidRequest:
    """What was wrong with an input, by the name that it has in this request."""
    found = _PLACE.match(str(error))
    if found is None:
        return error
    place = int(found[1])
    path = f"documents[{place - 1}]" if place else "query"
    return InvalidRequest(path + str(error)[found.end() :], path)
