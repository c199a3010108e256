"""A runner's vectors, as many numbers of them as a request asks for."""

import math
import struct

from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner.protocol import Embeddings


def check_dimensions(api: Api, handle: RunnerHandle, wanted: int | None) -> None:
    """Whether vectors of so many numbers can be had: of others than Matryoshka models a part says little.

    Raises InvalidRequest.
    """
    status = handle.status()
    n_embd = status.n_embd
    may_cut = api.config.models[status.model].matryoshka
    if wanted is None or n_embd is None or wanted == n_embd or (may_cut and wanted < n_embd):
        return
    problem = f"dimensions: this model's vectors have {n_embd}, not {wanted}"
    if wanted > n_embd:
        raise InvalidRequest(f"{problem}; ask for fewer, or leave it out", "dimensions")
    raise InvalidRequest(
        f"{problem}; leave it out, or set models.<id>.matryoshka if the model was trained to be cut",
        "dimensions",
    )


def rows_of(frame: Embeddings) -> list[bytes]:
    """Little-endian float32, a row for each input."""
    row_bytes = frame.n_embd * 4
    return [frame.vectors[at : at + row_bytes] for at in range(0, len(frame.vectors), row_bytes)]


def vectors_of(frame: Embeddings, dimensions: int | None) -> list[tuple[float, ...]]:
    """Unit vectors of `dimensions` numbers (None: all), cut and made units again where these are fewer."""
    floats = struct.Struct(f"<{dimensions or frame.n_embd}f")
    if floats.size == frame.n_embd * 4:
        return [*floats.iter_unpack(frame.vectors)]
    return [_unit(floats.unpack_from(row)) for row in rows_of(frame)]


def _unit(vector: tuple[float, ...]) -> tuple[float, ...]:
    norm = math.hypot(*vector) or 1.0
    return tuple(number / norm for number in vector)
