"""llama.cpp's POST /embedding, which has /embeddings as another name."""

import math
from typing import Annotated

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.answer import json_answer
from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.errors import Unsupported
from edged.api.llamacpp.which import model_of
from edged.api.openai.inputs import Input, inputs_of
from edged.api.ready import Asking
from edged.api.vectors import vectors_of
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

_LARGEST = 32760.0  # to which llama.cpp scales the largest number, so that 16 bits hold them all
_EUCLIDEAN = 2


class EmbeddingRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to embed."""

    model: fields.OneModel | None = None
    content: Annotated[
        Input | None,
        Meta(description="A text, a list of texts, a list of tokens or a list of such lists."),
    ] = None
    input: Annotated[Input | None, Meta(description="Another name of content.")] = None
    embd_normalize: Annotated[
        Annotated[int, Meta(ge=-1, le=64)] | None,
        Meta(description="0: largest absolute value, 1: taxicab, 2 (the default): Euclidean, above: p-norm."),
    ] = None
    keep_alive: fields.KeepAlive | None = None


class Embedding(Struct, frozen=True, kw_only=True):
    """A text's vector, in a list of one: all tokens are pooled."""

    index: int
    embedding: tuple[tuple[float, ...]]


EMBEDDING = Endpoint(
    method="POST",
    path="/embedding",
    family="llama.cpp",
    summary="Make vectors of texts.",
    request=EmbeddingRequest,
    answer=list[Embedding],
    example={"content": "A man is eating food."},
)
EMBEDDINGS = msgspec.structs.replace(EMBEDDING, path="/embeddings", summary="Another name of /embedding.")


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("llamacpp_embedding", __name__)

    @blueprint.post(EMBEDDING.path)
    @blueprint.post(EMBEDDINGS.path)
    @api.working
    def embedding() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, EMBEDDING, EmbeddingRequest)
        call = api.call(model_of(api, wanted.model, "embed"), "embed", patience, wanted.keep_alive)
        norm = _norm(wanted.embd_normalize)
        texts, token_lists = _inputs(wanted)
        embed = protocol.Embed(id=0, texts=texts, token_lists=token_lists)

        def submit(handle: RunnerHandle) -> protocol.Embeddings:
            return handle.embed(embed, patience.deadline, patience.check)

        frame = Asking(api, call, submit).wait()
        api.metrics.tokens(call.model, prompt=sum(frame.n_tokens))
        return json_answer(
            [
                Embedding(index=index, embedding=(normalized(vector, norm),))
                for index, vector in enumerate(vectors_of(frame, None))
            ]
        )

    return blueprint


def normalized(vector: tuple[float, ...], norm: int) -> tuple[float, ...]:
    """A unit vector by another norm; its direction is all that matters."""
    if norm == _EUCLIDEAN:
        return vector
    if norm == 0:
        length = max(map(abs, vector)) / _LARGEST
    else:
        length = math.fsum(abs(number) ** norm for number in vector) ** (1 / norm)
    return tuple(number / length for number in vector) if length else vector


def _norm(wanted: int | None) -> int:
    if wanted is None:
        return _EUCLIDEAN
    if wanted < 0:
        raise Unsupported(
            "embd_normalize: vectors are never told without being normalised; send 2", "embd_normalize"
        )
    return wanted


def _inputs(wanted: EmbeddingRequest) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """By either name. Raises InvalidRequest."""
    if wanted.content is not None and wanted.input is not None:
        raise InvalidRequest("input: is another name of content; send one", "input")
    if wanted.content is not None:
        return inputs_of(wanted.content, "content")
    if wanted.input is not None:
        return inputs_of(wanted.input, "input")
    raise InvalidRequest("content: is missing", "content")
