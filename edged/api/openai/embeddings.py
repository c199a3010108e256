"""POST /v1/embeddings, which goes past Flask (`edged.api.direct`)."""

import base64
import struct
from typing import Annotated, Any, Literal

import msgspec

from edged.api.body import Fields, convert, drop_harmless, read_fields
from edged.api.openai.inputs import parse_input
from edged.api.ready import Asking
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol
from edged.service.liveness import Environ

PATH = "/v1/embeddings"
_IGNORED = frozenset({"user"})


class EmbeddingFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The request, without `model`. `truncate` is edged's own: cut what is too long instead of refusing."""

    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    truncate: bool | None = None


def answer(api: Api, environ: Environ) -> bytes:
    """The answer's JSON. Raises what `edged.api.errors` has a row for."""
    patience = api.patience(environ)
    fields = read_fields(environ)
    call = api.call(fields.pop("model", None), "embed", patience, fields.pop("keep_alive", None))
    drop_harmless(fields, _IGNORED, {})
    wanted = convert(fields, EmbeddingFields)
    texts, token_lists = parse_input(wanted.input)
    embed = protocol.Embed(id=0, texts=texts, token_lists=token_lists, truncate=bool(wanted.truncate))

    def submit(handle: RunnerHandle) -> protocol.Embeddings:
        if wanted.dimensions is not None:
            _check_dimensions(wanted.dimensions, handle.status().n_embd)
        return handle.embed(embed, patience.deadline, patience.check)

    frame = Asking(api, call, submit).wait()
    api.metrics.tokens(call.model, prompt=sum(frame.n_tokens))
    return msgspec.json.encode(render(call.model, frame, as_base64=wanted.encoding_format == "base64"))


def render(model: str, frame: protocol.Embeddings, *, as_base64: bool) -> Fields:
    """A runner's vectors in OpenAI's shape. Base64 is of the very bytes that the runner sent."""
    row_bytes = frame.n_embd * 4
    rows = [frame.vectors[at : at + row_bytes] for at in range(0, len(frame.vectors), row_bytes)]
    floats = struct.Struct(f"<{frame.n_embd}f")
    vectors = [base64.b64encode(row).decode() if as_base64 else floats.unpack(row) for row in rows]
    n_tokens = sum(frame.n_tokens)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }


def _check_dimensions(wanted: int, n_embd: int | None) -> None:
    if n_embd is not None and wanted != n_embd:
        raise InvalidRequest(
            f"dimensions: this model's vectors have {n_embd}, not {wanted}; leave it out", "dimensions"
        )
