"""What a loaded model takes, in bytes by kind.

The KV cache and recurrent states are exact. The rest follows how llama.cpp sizes its buffers, with factors
fitted to what it tells for SmolLM2, Gemma 3 and MiniLM at context lengths from 512 to 8192 and ubatches from
64 to 2048 tokens. `tests/bench/footprint.py` sets it beside the memory that real runners take.
"""

from collections.abc import Collection
from typing import Literal

import msgspec

from edged.gguf.header import GgufHeader
from edged.gguf.kv_cache import KvLayout, kv_bytes, kv_layout
from edged.gguf.recurrent import state_bytes
from edged.gguf.repack import repacked_tensors, replaced_tensors

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
MAX_DRAFT_TOKENS = 7  # in one step beside a lone sequence's sure one: kernels take eight at once best
_FLOAT_BYTES = 4
_MASK_BYTES = 2  # float16
# Anonymous memory of a runner before it has a model (15.6 MiB with llama.cpp's bindings and numpy; a chat
# template takes 2 MiB more) and what a context costs beside its buffers: graphs, cells, threads.
_RUNNER_BYTES = 21 << 20
_CANDIDATE_BYTES = 12 + 8  # llama_token_data, and numpy's number of the token
_TOKEN_BYTES = 172  # a token's text three times over, its score and hash entry
_MERGE_BYTES = 200  # a pair of strings in a hash table


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model would be run. `n_ctx` is per sequence; `instruction_sets` are named as in /proc/cpuinfo."""

    n_ctx: int
    n_seq_max: int
    n_ubatch: int
    type_k: KvType = "f16"
    type_v: KvType = "f16"
    repack: bool = False
    instruction_sets: tuple[str, ...] = ()
    kv_unified: bool = False
    swa_full: bool = False
    n_drafts: int = 0  # tokens that a step may compute beside a lone sequence's, so many less for each other


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes by kind. File-backed pages can be dropped and read again, anonymous ones cannot.

    Code of the interpreter and libraries, some 23 MiB, is in the page cache once for all runners, and half of
    it is the daemon's as well: it is no model's own memory and not counted here.
    """

    weights_bytes: int  # of the file, without what was repacked: its copy is used instead
    repack_bytes: int
    kv_bytes: int  # and the states of recurrent layers
    compute_bytes: int
    output_bytes: int
    sampling_bytes: int
    vocabulary_bytes: int
    process_bytes: int

    @property
    def anon_bytes(self) -> int:
        """What must fit into memory for as long as the model is loaded."""
        return (
            self.repack_bytes
            + self.kv_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.sampling_bytes
            + self.vocabulary_bytes
            + self.process_bytes
        )

    @property
    def base_bytes(self) -> int:
        """What a runner takes whatever its context is. Fitted: a load of the same file tells it better."""
        return self.vocabulary_bytes + self.process_bytes

    @property
    def file_bytes(self) -> int:
        """What should stay in the page cache for the model to be fast."""
        return self.weights_bytes


def footprint(header: GgufHeader, settings: ContextSettings, base_bytes: int | None = None) -> Footprint:
    """What `header`'s model takes when it is run with these settings, once every buffer has been used.

    `base_bytes` is `Footprint.base_bytes` as an earlier load of this file showed it.
    Raises ModelFileError where the file describes its attention with values of the wrong type.
    """
    repack_bytes, weights_bytes = _weights(header, settings.instruction_sets if settings.repack else ())
    layout = kv_layout(
        header,
        settings.n_ctx,
        settings.n_seq_max,
        settings.n_ubatch,
        unified=settings.kv_unified,
        full=settings.swa_full,
    )
    vocabulary_bytes = _vocabulary_bytes(header)
    return Footprint(
        weights_bytes=weights_bytes,
        repack_bytes=repack_bytes,
        kv_bytes=kv_bytes(header, layout, settings.type_k, settings.type_v)
        + state_bytes(header, settings.n_seq_max),
        compute_bytes=_compute_bytes(header, settings, layout),
        output_bytes=_output_bytes(header, settings),
        sampling_bytes=_sampling_bytes(header),
        vocabulary_bytes=vocabulary_bytes,
        process_bytes=_RUNNER_BYTES if base_bytes is None else max(0, base_bytes - vocabulary_bytes),
    )


def _weights(header: GgufHeader, instruction_sets: Collection[str]) -> tuple[int, int]:
    """Bytes copied, and bytes still used from the file."""
    copied_bytes = sum(tensor.size_bytes for tensor in repacked_tensors(header, instruction_sets))
    replaced_bytes = sum(tensor.size_bytes for tensor in replaced_tensors(header, instruction_sets))
    return copied_bytes, header.tensor_bytes - replaced_bytes


def _batch_tokens(header: GgufHeader, settings: ContextSettings) -> int:
    if header.is_encoder:
        return settings.n_ubatch
    return min(settings.n_ubatch, settings.n_ctx * settings.n_seq_max)


def _compute_bytes(header: GgufHeader, settings: ContextSettings, layout: KvLayout) -> int:
    """The scheduler's buffer: the attention masks, and beside them the widest point of the graph, which is a
    feed-forward network or, with many outputs or a large vocabulary, the logits."""
    n_tokens = _batch_tokens(header, settings)
    layers = _FLOAT_BYTES * n_tokens * _widest_layer(header)
    if header.is_encoder:
        return _MASK_BYTES * n_tokens * n_tokens + layers
    streams = 1 if settings.kv_unified else settings.n_seq_max
    cells = layout.full_cells + (layout.window_cells if any(layout.windowed) else 0)
    n_outputs = n_tokens if header.pools else min(n_tokens, _outputs(settings))
    logits = _FLOAT_BYTES * n_outputs * (header.n_vocab + header.n_embd)
    return _MASK_BYTES * n_tokens * cells // streams + max(layers, logits)


def _widest_layer(header: GgufHeader) -> int:
    """Floats for each token at a feed-forward network: gate, up and their product where it is gated."""
    query = max(header.n_head, default=0) * header.key_length
    n_ff = max(header.n_ff, default=0)
    experts = header.integer("expert_used_count")
    expert_ff = experts * (header.integer("expert_feed_forward_length") or n_ff)
    mixture = experts * header.n_embd  # each expert's answer, before they are added up
    if _is_gated(header, n_ff):
        return 3 * max(n_ff, expert_ff) + mixture + 3 * header.n_embd + query
    return n_ff + 2 * header.n_embd + query


def _is_gated(header: GgufHeader, n_ff: int) -> bool:
    up = header.tensor("blk.0.ffn_up.weight")
    if up is None or header.tensor("blk.0.ffn_gate.weight") is not None:
        return True
    return len(up.dims) > 1 and up.dims[1] > n_ff  # gate and up in one


def _output_bytes(header: GgufHeader, settings: ContextSettings) -> int:
    """llama.cpp keeps a row of logits for every output, and for vectors every token is an output, even though
    nobody reads those logits."""
    if header.pools:
        return _FLOAT_BYTES * _batch_tokens(header, settings) * (header.n_vocab + header.n_embd)
    return _FLOAT_BYTES * _outputs(settings) * header.n_vocab


def _outputs(settings: ContextSettings) -> int:
    return max(settings.n_seq_max, 1 + settings.n_drafts)


def _sampling_bytes(header: GgufHeader) -> int:
    """Where a chain looks at all tokens there is a list of them, for one sequence after the other."""
    return 0 if header.pools else _CANDIDATE_BYTES * header.n_vocab


def _vocabulary_bytes(header: GgufHeader) -> int:
    n_merges = header.array_lengths.get("tokenizer.ggml.merges", 0)
    return _TOKEN_BYTES * header.n_vocab + _MERGE_BYTES * n_merges
