"""ollama's POST /api/embed and, older, /api/embeddings. Both go past Flask (`edged.api.direct`)."""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.ollama import names
from edged.api.openai.inputs import Input, Texts, inputs_of
from edged.api.ready import Asking
from edged.api.vectors import check_dimensions, vectors_of
from edged.api.work import Api, Call
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol
from edged.service.liveness import Environ

_NO_OPTIONS = "None of them changes an embedding."


class EmbedRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/embed."""

    model: fields.Model
    input: Annotated[
        str | list[str], Meta(description="A text or several; none, or an empty one, only loads the model.")
    ]
    truncate: (
        Annotated[bool, Meta(description="Cut texts that are too long; true by default. false: refuse them.")]
        | None
    ) = None
    dimensions: (
        Annotated[int, Meta(ge=1, description="How many numbers a vector has; all of the model's.")] | None
    ) = None
    keep_alive: fields.KeepAlive | None = None


class EmbeddingsRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/embeddings."""

    model: fields.Model
    prompt: Annotated[str, Meta(description="A text; without one the model is only loaded.")] | None = None
    keep_alive: fields.KeepAlive | None = None


class Embedded(Struct, kw_only=True):
    """Unit vectors, in the order of the texts. Durations are in nanoseconds."""

    model: str
    embeddings: list[tuple[float, ...]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class Embedding(Struct, kw_only=True):
    """The unit vector of the text; empty where there was none."""

    embedding: tuple[float, ...]


EMBED = Endpoint(
    method="POST",
    path="/api/embed",
    family="ollama",
    summary="Make vectors of texts.",
    request=EmbedRequest,
    example={"model": "minilm", "input": ["The sky is blue.", "Grass is green."]},
    harmless={"options": _NO_OPTIONS},
    answer=Embedded,
)
EMBEDDINGS = Endpoint(
    method="POST",
    path="/api/embeddings",
    family="ollama",
    summary="Make a vector of a text; /api/embed takes several.",
    request=EmbeddingsRequest,
    example={"model": "minilm", "prompt": "The sky is blue."},
    harmless={"options": _NO_OPTIONS},
    answer=Embedding,
)


def embed(api: Api, environ: Environ) -> bytes:
    """The answer of /api/embed. Raises what `edged.api.errors` has a row for."""
    patience = api.patience(environ)
    wanted = read_request(environ, EMBED, EmbedRequest)
    texts = () if wanted.input in ("", []) else inputs_of(_as_inputs(wanted.input), "input")[0]
    call = api.call(names.configured(wanted.model), "embed", patience, wanted.keep_alive)
    made = _made(api, call, texts, truncate=wanted.truncate is not False, dimensions=wanted.dimensions)
    return msgspec.json.encode(
        Embedded(
            model=wanted.model,
            embeddings=made.vectors,
            total_duration=round(patience.waited_s * 1e9),
            load_duration=round(made.load_s * 1e9),
            prompt_eval_count=made.n_tokens,
        )
    )


def _as_inputs(given: str | list[str]) -> Input:
    return given if isinstance(given, str) else [*given]


def embeddings(api: Api, environ: Environ) -> bytes:
    """The answer of /api/embeddings. Raises what `edged.api.errors` has a row for."""
    patience = api.patience(environ)
    wanted = read_request(environ, EMBEDDINGS, EmbeddingsRequest)
    call = api.call(names.configured(wanted.model), "embed", patience, wanted.keep_alive)
    vectors = _made(api, call, (wanted.prompt,) if wanted.prompt else ()).vectors
    return msgspec.json.encode(Embedding(embedding=vectors[0] if vectors else ()))


class _Made(NamedTuple):
    vectors: list[tuple[float, ...]]
    n_tokens: int
    load_s: float  # until the model answered at all


def _made(
    api: Api, call: Call, texts: Texts, *, truncate: bool = True, dimensions: int | None = None
) -> _Made:
    """The vectors of the texts; without texts the model is loaded all the same."""
    patience = call.patience
    wanted = protocol.Embed(id=0, texts=texts, truncate=truncate)

    def submit(handle: RunnerHandle) -> tuple[protocol.Embeddings | None, float]:
        load_s = patience.waited_s
        check_dimensions(api, handle, dimensions)
        return handle.embed(wanted, patience.deadline, patience.check) if texts else None, load_s

    frame, load_s = Asking(api, call, submit).wait()
    if frame is None:
        return _Made([], 0, load_s)
    n_tokens = sum(frame.n_tokens)
    api.metrics.tokens(call.model, prompt=n_tokens)
    return _Made(vectors_of(frame, dimensions), n_tokens, load_s)
