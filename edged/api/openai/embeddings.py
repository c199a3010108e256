"""POST /v1/embeddings, which goes past Flask (`edged.api.direct`)."""

import base64
import math
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
from edged.api.work import Api
from edged.errors import InvalidRequest
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
    harmless={"user": "nobody is watched here"},
    answer=EmbeddingsAnswer,
)


def answer(api: Api, environ: Environ) -> bytes:
    """The answer's JSON. Raises what `edged.api.errors` has a row for."""
    patience = api.patience(environ)
    wanted = read_request(environ, EMBEDDINGS, EmbeddingsRequest)
    call = api.call(wanted.model, "embed", patience, wanted.keep_alive)
    texts, token_lists = inputs_of(wanted.input, "input")
    embed = protocol.Embed(id=0, texts=texts, token_lists=token_lists, truncate=bool(wanted.truncate))

    def submit(handle: RunnerHandle) -> protocol.Embeddings:
        if wanted.dimensions is not None:
            may_cut = api.config.models[call.model].matryoshka
            _check_dimensions(wanted.dimensions, handle.status().n_embd, may_cut=may_cut)
        return handle.embed(embed, patience.deadline, patience.check)

    frame = Asking(api, call, submit).wait()
    api.metrics.tokens(call.model, prompt=sum(frame.n_tokens))
    n_tokens = sum(frame.n_tokens)
    vectors = _vectors(frame, wanted.dimensions or frame.n_embd, as_base64=wanted.encoding_format == "base64")
    return msgspec.json.encode(
        EmbeddingsAnswer(
            data=tuple(Embedding(index=index, embedding=vector) for index, vector in enumerate(vectors)),
            model=call.model,
            usage=EmbeddingsUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
        )
    )


def _vectors(
    frame: protocol.Embeddings, dimensions: int, *, as_base64: bool
) -> Sequence[tuple[float, ...] | str]:
    """A runner's vectors, cut and made units again where that is wanted."""
    row_bytes = frame.n_embd * 4
    rows = [frame.vectors[at : at + row_bytes] for at in range(0, len(frame.vectors), row_bytes)]
    floats = struct.Struct(f"<{dimensions}f")
    if dimensions == frame.n_embd:  # base64 is of the very bytes that the runner sent
        return [base64.b64encode(row).decode() if as_base64 else floats.unpack(row) for row in rows]
    cut = [_unit(floats.unpack_from(row)) for row in rows]
    return [base64.b64encode(floats.pack(*vector)).decode() if as_base64 else vector for vector in cut]


def _unit(vector: tuple[float, ...]) -> tuple[float, ...]:
    norm = math.hypot(*vector) or 1.0
    return tuple(number / norm for number in vector)


def _check_dimensions(wanted: int, n_embd: int | None, *, may_cut: bool) -> None:
    """Whether vectors of so many numbers can be had: of others than Matryoshka models a part says little."""
    if n_embd is None or wanted == n_embd or (may_cut and wanted < n_embd):
        return
    problem = f"dimensions: this model's vectors have {n_embd}, not {wanted}"
    if wanted > n_embd:
        raise InvalidRequest(f"{problem}; ask for fewer, or leave it out", "dimensions")
    raise InvalidRequest(
        f"{problem}; leave it out, or set models.<id>.matryoshka if the model was trained to be cut",
        "dimensions",
    )
