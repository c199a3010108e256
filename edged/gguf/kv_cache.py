"""How many cells of which width llama.cpp's KV cache has, layer by layer.

From `llama_model::create_memory`, `llama-kv-cache.cpp` and `llama-kv-cache-iswa.cpp`.
"""

from typing import NamedTuple

from edged.gguf.header import GgufHeader
from edged.gguf.recurrent import attends
from edged.gguf.tensor_types import TYPES_BY_NAME

_CELL_PADDING = 256


class _Window(NamedTuple):
    """Which layers look back over a window only: all but every `period`th, the first or the last of each."""

    period: int
    full_first: bool = False
    n_swa: int = 0  # where the file need not say
    n_layer: int | None = None  # only models of this depth


# From `load_swa_pattern` in `src/models/*.cpp`. Other architectures give one flag for each layer in the file
# (gemma4, ...), or cache everything whatever the file says about a window (phi3, ...).
_WINDOWS = {
    "afmoe": _Window(4),
    "cohere2": _Window(4),
    "cohere2moe": _Window(4, full_first=True),
    "exaone-moe": _Window(4, n_swa=128),
    "exaone4": _Window(4, n_swa=4096, n_layer=64),
    "gemma2": _Window(2, n_swa=4096),
    "gemma3": _Window(6),
    "gemma3n": _Window(5),
    "gpt-oss": _Window(2),
    "mellum": _Window(4),
    "olmo2": _Window(4),
    "plamo3": _Window(8),
    "smallthinker": _Window(4, full_first=True),
}
_FLAGGED = frozenset({"gemma4", "granite_swa", "mimo2", "step35"})
_GEMMA3N_OWN_LAYERS = 20  # its later layers use the cache of earlier ones


class KvLayout(NamedTuple):
    """Cells of the full and of the windowed layers, for all sequences; a layer without a window is False."""

    full_cells: int
    window_cells: int
    windowed: tuple[bool, ...]


def kv_layout(
    header: GgufHeader, n_ctx: int, n_seq_max: int, n_ubatch: int, unified: bool, full: bool
) -> KvLayout:
    """The cells for `n_ctx` positions in each of `n_seq_max` sequences.

    `unified`: one cache for all sequences instead of one for each; `full`: windowed layers keep everything.
    """
    streams = 1 if unified else n_seq_max
    per_stream = _padded(_padded(n_ctx * n_seq_max) // streams)
    windowed = windowed_layers(header)
    n_swa = _window_length(header)
    if not any(windowed) or full:
        return KvLayout(per_stream * streams, per_stream * streams, windowed)
    in_window = _padded(
        min(per_stream, n_swa * (n_seq_max if unified else 1) + min(n_ubatch, n_ctx * n_seq_max))
    )
    return KvLayout(per_stream * streams, in_window * streams, windowed)


def kv_bytes(header: GgufHeader, layout: KvLayout, type_k: str, type_v: str) -> int:
    """The K and V tensors of all layers that attend, in types such as f16 and q8_0; 0 for encoders."""
    if header.is_encoder:
        return 0
    key, value = TYPES_BY_NAME[type_k.upper()], TYPES_BY_NAME[type_v.upper()]
    has_values = not header.integer("attention.key_length_mla")  # compressed: V is computed from K
    total = 0
    for layer in filter(attends(header).__getitem__, range(_caching_layers(header))):
        windowed, heads = layout.windowed[layer], header.n_head_kv[layer]
        cells = layout.window_cells if windowed else layout.full_cells
        key_length, value_length = _head_lengths(header, windowed)
        total += cells * key.n_bytes(key_length * heads)
        total += cells * value.n_bytes(value_length * heads) if has_values else 0
    return total


def windowed_layers(header: GgufHeader) -> tuple[bool, ...]:
    """For each layer, whether it keeps only a window of the past."""
    none = (False,) * header.n_layer
    if not _window_length(header):
        return none
    flags = header.arrays.get(f"{header.architecture}.attention.sliding_window_pattern", ())
    if len(flags) >= header.n_layer:
        return tuple(bool(flag) for flag in flags[: header.n_layer])
    window = _WINDOWS.get(header.architecture)
    if window is None:  # its flags are missing, and llama.cpp will not load it
        return none
    period = header.integer("attention.sliding_window_pattern", window.period)
    full = 0 if window.full_first else period - 1
    return tuple(not period or layer % period != full for layer in range(header.n_layer))


def _window_length(header: GgufHeader) -> int:
    window = _WINDOWS.get(header.architecture)
    if window is None:
        return (header.sliding_window or 0) if header.architecture in _FLAGGED else 0
    if window.n_layer not in (None, header.n_layer):
        return 0
    return header.sliding_window or window.n_swa


def _caching_layers(header: GgufHeader) -> int:
    if header.architecture == "gemma3n":
        return min(_GEMMA3N_OWN_LAYERS, header.n_layer)
    return max(0, header.n_layer - header.integer("attention.shared_kv_layers"))


def _head_lengths(header: GgufHeader, windowed: bool) -> tuple[int, int]:
    if not windowed:
        return header.key_length, header.value_length
    key = header.integer("attention.key_length_swa", header.key_length)
    return key, header.integer("attention.value_length_swa", header.value_length)


def _padded(cells: int) -> int:
    return -(-cells // _CELL_PADDING) * _CELL_PADDING
