"""POST /v1/embeddings, which goes past Flask (`edged.api.direct`)."""

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.openai.inputs import Input, inputs_of
from edged.api.ready import Asking
from edged.api.vectors import check_dimensions, rows_of, vectors_of
from edged.api.work import Api
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol
from edged.service.liveness import Environ


class EmbeddingsRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to embed."""

    model: fields.Model | None = None
    input: Annotated[
        Input, Meta(description="A text, a list of texts, a list of tokens or a list of such lists.")
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="base64 is of little-endian float32.")
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Length of the vectors; less than the model's only where `matryoshka` is set for it."
        ),
    ] = None
    truncate: Annotated[
        bool | None, Meta(description="Cut inputs that are too long instead of refusing them.")
    ] = None
    keep_alive: fields.KeepAlive | None = None


class Embedding(Struct, frozen=True, kw_only=True):
    """A vector of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: tuple[float, ...] | str


class EmbeddingsUsage(Struct, frozen=True, kw_only=True):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Struct, frozen=True, kw_only=True):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    model: str
    usage: EmbeddingsUsage


EMBEDDINGS = Endpoint(
    method="POST",
    path="/v1/embeddings",
    family="openai",
    summary="Make vectors of texts.",
    request=EmbeddingsRequest,
    harmless={"user": "Nobody is watched here."},
    answer=EmbeddingsAnswer,
    example={"model": "minilm", "input": ["A man is eating food.", "A man is eating a piece of bread."]},
)


def answer(api: Api, environ: Environ) -> bytes:
    """The answer's JSON. Raises what `edged.api.errors` has a row for."""
    patience = api.patience(environ)
    wanted = read_request(environ, EMBEDDINGS, EmbeddingsRequest)
    call = api.call(wanted.model, "embed", patience, wanted.keep_alive)
    texts, token_lists = inputs_of(wanted.input, "input")
    embed = protocol.Embed(id=0, texts=texts, token_lists=token_lists, truncate=bool(wanted.truncate))

    def submit(handle: RunnerHandle) -> protocol.Embeddings:
        check_dimensions(api, handle, wanted.dimensions)
        return handle.embed(embed, patience.deadline, patience.check)

    frame = Asking(api, call, submit).wait()
    api.metrics.tokens(call.model, prompt=sum(frame.n_tokens))
    n_tokens = sum(frame.n_tokens)
    vectors = _vectors(frame, wanted.dimensions, as_base64=wanted.encoding_format == "base64")
    return msgspec.json.encode(
        EmbeddingsAnswer(
            data=tuple(Embedding(index=index, embedding=vector) for index, vector in enumerate(vectors)),
            model=call.model,
            usage=EmbeddingsUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
        )
    )


def _vectors(
    frame: protocol.Embeddings, dimensions: int | None, *, as_base64: bool
) -> Sequence[tuple[float, ...] | str]:
    if not as_base64:
        return vectors_of(frame, dimensions)
    if dimensions in (None, frame.n_embd):  # the very bytes that the runner sent
        return [base64.b64encode(row).decode() for row in rows_of(frame)]
    floats = struct.Struct(f"<{dimensions}f")
    return [base64.b64encode(floats.pack(*vector)).decode() for vector in vectors_of(frame, dimensions)]
