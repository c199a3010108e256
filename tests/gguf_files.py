"""Makes GGUF files for tests with `struct` alone: tiny models that llama.cpp loads, and broken ones.

Independent of `edged.gguf` and of the gguf package, so that it can stand as evidence about either.
"""

import random
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

Value = tuple[str, object]  # ("u32", 7), ("str", "llama"), ("[str]", ["a", "b"]), ("[f32]", [0.5])

_KINDS = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8, "u64": 10}
_LAYOUTS = {
    "u8": "<B",
    "i8": "<b",
    "u16": "<H",
    "i16": "<h",
    "u32": "<I",
    "i32": "<i",
    "f32": "<f",
    "bool": "<?",
}
_LAYOUTS["u64"] = "<Q"
_ARRAY = 9
_SPM_BYTE, _SPM_CONTROL, _SPM_UNKNOWN, _NORMAL = 6, 3, 2, 1


class Tensor(NamedTuple):
    """A tensor of any ggml type; `dims` begins with the row's length. `data` is written as it is."""

    name: str
    dims: Sequence[int]
    data: bytes
    kind: int = 0  # ggml's number: 0 F32, 1 F16, 2 Q4_0, 8 Q8_0, ...


def text(value: str | bytes) -> bytes:
    """A string as GGUF writes it."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, value: Value) -> bytes:
    """One metadata entry."""
    kind, content = value
    if not kind.startswith("["):
        return text(key) + struct.pack("<I", _KINDS[kind]) + _one(kind, content)
    assert isinstance(content, Iterable)
    values = list(content)
    head = struct.pack("<IIQ", _ARRAY, _KINDS[kind[1:-1]], len(values))
    return text(key) + head + b"".join(_one(kind[1:-1], each) for each in values)


def gguf_bytes(
    metadata: Mapping[str, Value], tensors: Sequence[Tensor], version: int = 3, alignment: int = 32
) -> bytes:
    """A whole file. Give `general.alignment` in the metadata too where it is not 32."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(entry(key, value) for key, value in metadata.items())
    data = b""
    for tensor in tensors:
        head += text(tensor.name) + struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
        head += struct.pack("<IQ", tensor.kind, len(data))
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return head + bytes(-len(head) % alignment) + data


def write_tiny_gguf(
    path: Path,
    architecture: Literal["llama", "bert"] = "llama",
    *,
    n_layer: int = 2,
    n_embd: int = 16,
    n_ctx_train: int = 128,
    metadata: Mapping[str, Value | None] | None = None,
) -> Path:
    """A model of some 50 kB that llama.cpp loads and runs; its weights are noise, the same every time.

    `metadata` replaces or adds entries; None takes one away. llama has 259 tokens (3 special ones and every
    byte), bert has 5 special ones, the letters, and the letters within a word.
    """
    shape = _Shape(n_layer, n_embd, n_ctx_train)
    entries, tensors = _llama(shape) if architecture == "llama" else _bert(shape)
    changed: dict[str, Value | None] = {**entries, **(metadata or {})}
    kept = {key: value for key, value in changed.items() if value is not None}
    path.write_bytes(gguf_bytes(kept, tensors))
    return path


class _Shape(NamedTuple):
    n_layer: int
    n_embd: int
    n_ctx: int

    @property
    def n_ff(self) -> int:
        return 2 * self.n_embd


def _common(architecture: str, shape: _Shape) -> dict[str, Value]:
    return {
        "general.architecture": ("str", architecture),
        "general.type": ("str", "model"),
        "general.name": ("str", f"Tiny {architecture}"),
        f"{architecture}.context_length": ("u32", shape.n_ctx),
        f"{architecture}.embedding_length": ("u32", shape.n_embd),
        f"{architecture}.block_count": ("u32", shape.n_layer),
        f"{architecture}.feed_forward_length": ("u32", shape.n_ff),
        f"{architecture}.attention.head_count": ("u32", 2),
    }


def _llama(shape: _Shape) -> tuple[dict[str, Value], list[Tensor]]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [_SPM_UNKNOWN, _SPM_CONTROL, _SPM_CONTROL, *(_SPM_BYTE for _ in range(256))]
    entries: dict[str, Value] = {
        **_common("llama", shape),
        "llama.attention.head_count_kv": ("u32", 1),
        "llama.attention.layer_norm_rms_epsilon": ("f32", 1e-5),
        "llama.rope.dimension_count": ("u32", shape.n_embd // 2),
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.scores": ("[f32]", [0.0] * len(tokens)),
        "tokenizer.ggml.token_type": ("[i32]", kinds),
        "tokenizer.ggml.bos_token_id": ("u32", 1),
        "tokenizer.ggml.eos_token_id": ("u32", 2),
        "tokenizer.ggml.unknown_token_id": ("u32", 0),
        "tokenizer.chat_template": ("str", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"),
    }
    embd, ff = shape.n_embd, shape.n_ff
    tensors = [_noise("token_embd.weight", embd, len(tokens))]
    for layer in range(shape.n_layer):
        stem = f"blk.{layer}."
        tensors += [
            _ones(f"{stem}attn_norm.weight", embd),
            _noise(f"{stem}attn_q.weight", embd, embd),
            _noise(f"{stem}attn_k.weight", embd, embd // 2),
            _noise(f"{stem}attn_v.weight", embd, embd // 2),
            _noise(f"{stem}attn_output.weight", embd, embd),
            _ones(f"{stem}ffn_norm.weight", embd),
            _noise(f"{stem}ffn_gate.weight", embd, ff),
            _noise(f"{stem}ffn_up.weight", embd, ff),
            _noise(f"{stem}ffn_down.weight", ff, embd),
        ]
    return entries, [*tensors, _ones("output_norm.weight", embd)]


def _bert(shape: _Shape) -> tuple[dict[str, Value], list[Tensor]]:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *("\u2581" + letter for letter in letters), *letters]
    entries: dict[str, Value] = {
        **_common("bert", shape),
        "bert.attention.layer_norm_epsilon": ("f32", 1e-12),
        "bert.attention.causal": ("bool", False),
        "bert.pooling_type": ("u32", 1),
        "tokenizer.ggml.model": ("str", "bert"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.token_type": ("[i32]", [_SPM_CONTROL] * 5 + [_NORMAL] * 2 * len(letters)),
        "tokenizer.ggml.token_type_count": ("u32", 2),
        "tokenizer.ggml.padding_token_id": ("u32", 0),
        "tokenizer.ggml.unknown_token_id": ("u32", 1),
        "tokenizer.ggml.bos_token_id": ("u32", 2),
        "tokenizer.ggml.seperator_token_id": ("u32", 3),
        "tokenizer.ggml.mask_token_id": ("u32", 4),
    }
    embd, ff = shape.n_embd, shape.n_ff
    tensors = [
        _noise("token_embd.weight", embd, len(tokens)),
        _noise("position_embd.weight", embd, shape.n_ctx),
        _noise("token_types.weight", embd, 2),
        _ones("token_embd_norm.weight", embd),
        _noise("token_embd_norm.bias", embd),
    ]
    for layer in range(shape.n_layer):
        stem = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors += [_noise(f"{stem}{name}.weight", embd, embd), _noise(f"{stem}{name}.bias", embd)]
        tensors += [_noise(f"{stem}ffn_up.weight", embd, ff), _noise(f"{stem}ffn_up.bias", ff)]
        tensors += [_noise(f"{stem}ffn_down.weight", ff, embd), _noise(f"{stem}ffn_down.bias", embd)]
        for name in ("attn_output_norm", "layer_output_norm"):
            tensors += [_ones(f"{stem}{name}.weight", embd), _noise(f"{stem}{name}.bias", embd)]
    return entries, tensors


def _noise(name: str, *dims: int) -> Tensor:
    n_values = dims[0] * (dims[1] if len(dims) > 1 else 1)
    source = random.Random(name)
    return Tensor(
        name, dims, struct.pack(f"<{n_values}f", *(source.gauss(0.0, 0.2) for _ in range(n_values)))
    )


def _ones(name: str, n_values: int) -> Tensor:
    return Tensor(name, (n_values,), struct.pack(f"<{n_values}f", *[1.0] * n_values))


def _one(kind: str, value: object) -> bytes:
    if kind == "str":
        assert isinstance(value, str | bytes)
        return text(value)
    return struct.pack(_LAYOUTS[kind], value)
