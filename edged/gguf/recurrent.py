"""Layers that keep a state of fixed size for each sequence instead of a cache that grows with the context.

From `llama_hparams::n_embd_r`, `n_embd_s` and `load_arch_hparams` in `src/models/*.cpp`. Histories beside the
state that a few very large models keep (sparse attention's index) are not counted.
"""

from edged.gguf.header import GgufHeader

_FLOAT_BYTES = 4  # states are never quantized
_ALL_RECURRENT = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
# Layers without heads of their own for keys are recurrent, or (nemotron) a feed-forward network alone.
_BY_HEADS = frozenset(
    {
        "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe",
        "nemotron_h", "nemotron_h_moe", "plamo2",
    }
)  # fmt: skip
_NETWORK_ALONE = frozenset({"nemotron_h", "nemotron_h_moe"})
# Every so many layers one attends, where the file gives neither a period nor a flag for each layer.
_PERIODS = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4, "qwen4exp": 4}
_BOTH_AT_ONCE = "falcon-h1"


def recurrent_layers(header: GgufHeader) -> tuple[bool, ...]:
    """For each layer, whether it keeps a state."""
    architecture, n_layer = header.architecture, header.n_layer
    if architecture in _ALL_RECURRENT or architecture == _BOTH_AT_ONCE:
        return (True,) * n_layer
    if architecture in _BY_HEADS:
        alone = header.n_ff if architecture in _NETWORK_ALONE else (0,) * n_layer
        return tuple(not heads and not n_ff for heads, n_ff in zip(header.n_head_kv, alone, strict=True))
    if architecture not in _PERIODS:
        return (False,) * n_layer
    flags = header.arrays.get(f"{architecture}.attention.recurrent_layers", ())
    if len(flags) >= n_layer:
        return tuple(bool(flag) for flag in flags[:n_layer])
    period = header.integer("full_attention_interval", _PERIODS[architecture]) or 1
    return tuple((layer + 1) % period != 0 for layer in range(n_layer))


def attends(header: GgufHeader) -> tuple[bool, ...]:
    """For each layer, whether it caches keys and values."""
    if header.architecture == _BOTH_AT_ONCE:
        return (True,) * header.n_layer
    return tuple(not recurrent for recurrent in recurrent_layers(header))


def state_bytes(header: GgufHeader, n_seq_max: int) -> int:
    """The states of all recurrent layers for all sequences. Raises ModelFileError as `GgufHeader.integer`."""
    n_layers = sum(recurrent_layers(header))
    if not n_layers:
        return 0
    return _FLOAT_BYTES * n_layers * max(1, n_seq_max) * _floats(header)


def _floats(header: GgufHeader) -> int:
    """Of one layer and sequence: the last inputs of its convolution, and what it remembers."""
    n_embd, n_head = header.n_embd, max(header.n_head, default=0)
    if head_size := header.integer("wkv.head_size"):
        return n_embd * (header.integer("token_shift_count", 2) + head_size)
    if length := header.integer("shortconv.l_cache"):
        return n_embd * (length - 1)
    n_past = max(0, header.integer("ssm.conv_kernel") - 1)
    if head_size := header.integer("kda.head_dim"):
        return n_head * head_size * (3 * (n_past or 3) + head_size)
    if header.architecture == "minimax-01":
        return n_head * header.key_length**2
    inner, state = header.integer("ssm.inner_size"), header.integer("ssm.state_size")
    return n_past * (inner + 2 * header.integer("ssm.group_count") * state) + state * inner
