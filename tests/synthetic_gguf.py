"""A large model without a download: a GGUF of Gemma-2-9b's shape with random weights, made in seconds.

Its numbers mean nothing, but llama.cpp loads it, tokenises text with it and computes finite logits, and it
takes the bytes, the memory and the time of the real one. `python -m tests.synthetic_gguf` prints its path.
"""

import itertools
import math
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from tests.gguf_files import Value, entry, text

_ALIGNMENT = 32
_TILE_BLOCKS = 50_021  # a prime: rows that begin at other places in the tile differ
_WRITE_BYTES = 16 << 20
_SPREAD = 0.02  # standard deviation of the weights, as in trained models
_BYTE, _CONTROL, _UNKNOWN, _NORMAL = 6, 3, 2, 1


class _Format(NamedTuple):
    """A ggml type: its number, values and bytes of a block, and how random blocks of it are made."""

    number: int
    block_values: int
    block_bytes: int
    random: Callable[[np.random.Generator], npt.NDArray[np.uint8]]


class _Tensor(NamedTuple):
    name: str
    dims: tuple[int, ...]
    format: _Format

    @property
    def size_bytes(self) -> int:
        return math.prod(self.dims) // self.format.block_values * self.format.block_bytes


class Shape(NamedTuple):
    """Dimensions of a gemma2 model; the defaults are Gemma-2-9b's."""

    n_layer: int = 42
    n_embd: int = 3584
    n_ff: int = 14336
    n_head: int = 16
    n_head_kv: int = 8
    head_width: int = 256
    n_vocab: int = 256_000
    n_ctx: int = 8192
    n_swa: int = 4096


def cache_folder() -> Path:
    """Where tests keep what takes long to make."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edged" / "tests"


def cached(shape: Shape = Shape(), name: str = "gemma-2-9b-shape") -> Path:  # noqa: B008  # immutable
    """The file in the user's cache (3.6 GB with the default shape), made when it is not there."""
    path = cache_folder() / f"{name}.gguf"
    head, tensors = _head(shape)
    if not path.is_file() or path.stat().st_size != len(head) + sum(map(_stored_bytes, tensors)):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(head)
                _write_weights(file, tensors)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _head(shape: Shape) -> tuple[bytes, list[_Tensor]]:
    metadata, tensors = _metadata(shape), list(_tensors(shape))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(entry(key, value) for key, value in metadata.items())
    offset = 0
    for tensor in tensors:
        n_dims = len(tensor.dims)
        head += text(tensor.name) + struct.pack(f"<I{n_dims}Q", n_dims, *tensor.dims)
        head += struct.pack("<IQ", tensor.format.number, offset)
        offset += _stored_bytes(tensor)
    return head + bytes(-len(head) % _ALIGNMENT), tensors


def _stored_bytes(tensor: _Tensor) -> int:
    return -(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT


def _metadata(shape: Shape) -> dict[str, Value]:
    tokens, kinds = _vocabulary(shape.n_vocab)
    return {
        "general.architecture": ("str", "gemma2"),
        "general.type": ("str", "model"),
        "general.name": ("str", "Random weights in the shape of Gemma 2"),
        "gemma2.context_length": ("u32", shape.n_ctx),
        "gemma2.embedding_length": ("u32", shape.n_embd),
        "gemma2.block_count": ("u32", shape.n_layer),
        "gemma2.feed_forward_length": ("u32", shape.n_ff),
        "gemma2.attention.head_count": ("u32", shape.n_head),
        "gemma2.attention.head_count_kv": ("u32", shape.n_head_kv),
        "gemma2.attention.key_length": ("u32", shape.head_width),
        "gemma2.attention.value_length": ("u32", shape.head_width),
        "gemma2.attention.layer_norm_rms_epsilon": ("f32", 1e-6),
        "gemma2.attention.sliding_window": ("u32", shape.n_swa),
        "gemma2.attn_logit_softcapping": ("f32", 50.0),
        "gemma2.final_logit_softcapping": ("f32", 30.0),
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.scores": ("[f32]", [-float(index) for index in range(len(tokens))]),
        "tokenizer.ggml.token_type": ("[i32]", kinds),
        "tokenizer.ggml.padding_token_id": ("u32", 0),
        "tokenizer.ggml.eos_token_id": ("u32", 1),
        "tokenizer.ggml.bos_token_id": ("u32", 2),
        "tokenizer.ggml.unknown_token_id": ("u32", 3),
        "tokenizer.ggml.add_bos_token": ("bool", True),
        "tokenizer.ggml.add_space_prefix": ("bool", False),
        "tokenizer.chat_template": ("str", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"),
    }


def _vocabulary(n_vocab: int) -> tuple[list[str], list[int]]:
    """Special tokens, every byte, letters, and made-up words as SentencePiece has them, with their kinds."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    kinds = [_CONTROL, _CONTROL, _CONTROL, _UNKNOWN, *[_BYTE] * 256]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    tokens += [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens += itertools.islice(_words(), n_vocab - len(tokens))
    return tokens, kinds + [_NORMAL] * (n_vocab - len(kinds))


def _words() -> Iterator[str]:
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
    for length in itertools.count(1):
        for word in map("".join, itertools.product(syllables, repeat=length)):
            yield word
            yield "\u2581" + word


def _tensors(shape: Shape) -> Iterator[_Tensor]:
    """In the order in which converters write them."""
    n_embd, n_ff = shape.n_embd, shape.n_ff
    query, keys = shape.n_head * shape.head_width, shape.n_head_kv * shape.head_width
    yield _Tensor("token_embd.weight", (n_embd, shape.n_vocab), _Q6_K)
    for layer in range(shape.n_layer):
        stem = f"blk.{layer}."
        yield _Tensor(f"{stem}attn_norm.weight", (n_embd,), _F32)
        yield _Tensor(f"{stem}ffn_down.weight", (n_ff, n_embd), _Q2_K)
        yield _Tensor(f"{stem}ffn_gate.weight", (n_embd, n_ff), _Q2_K)
        yield _Tensor(f"{stem}ffn_up.weight", (n_embd, n_ff), _Q2_K)
        yield _Tensor(f"{stem}post_attention_norm.weight", (n_embd,), _F32)
        yield _Tensor(f"{stem}post_ffw_norm.weight", (n_embd,), _F32)
        yield _Tensor(f"{stem}ffn_norm.weight", (n_embd,), _F32)
        yield _Tensor(f"{stem}attn_k.weight", (n_embd, keys), _Q2_K)
        yield _Tensor(f"{stem}attn_output.weight", (query, n_embd), _Q3_K)
        yield _Tensor(f"{stem}attn_q.weight", (n_embd, query), _Q2_K)
        yield _Tensor(f"{stem}attn_v.weight", (n_embd, keys), _Q3_K)
    yield _Tensor("output_norm.weight", (n_embd,), _F32)


def _write_weights(file: BinaryIO, tensors: list[_Tensor]) -> None:
    tiles: dict[int, bytes] = {}
    position = 0
    for tensor in tensors:
        tile = tiles.get(tensor.format.number)
        if tile is None:
            tile = tiles[tensor.format.number] = _tile(tensor.format)
        begin = position // tensor.format.block_bytes % _TILE_BLOCKS * tensor.format.block_bytes
        n_left = tensor.size_bytes
        while n_left:
            piece = tile[begin : begin + n_left]
            file.write(piece)
            n_left -= len(piece)
            begin = (begin + len(piece)) % (_TILE_BLOCKS * tensor.format.block_bytes)
        file.write(bytes(_stored_bytes(tensor) - tensor.size_bytes))
        position += _stored_bytes(tensor)


def _tile(kind: _Format) -> bytes:
    """Random blocks, several times over, so that few writes make a tensor."""
    once = kind.random(np.random.default_rng(kind.number)).tobytes()
    return once * max(1, _WRITE_BYTES // len(once))


def _noise(source: np.random.Generator, n_bytes: int) -> npt.NDArray[np.uint8]:
    return source.integers(0, 256, (_TILE_BLOCKS, n_bytes), dtype=np.uint8)


def _half(value: float) -> npt.NDArray[np.uint8]:
    """A float16 scale for every block."""
    return np.tile(np.array([value], "<f2").view(np.uint8), (_TILE_BLOCKS, 1))


def _f32(source: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Norms: 1."""
    return np.ones((_TILE_BLOCKS, 1), "<f4").view(np.uint8)


def _q2_k(source: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Scales and minima of 4 bits, quants of 2 bits, d, dmin: d * scale * quant - dmin * minimum."""
    d = _SPREAD / 14.0
    return np.hstack([_noise(source, 16), _noise(source, 64), _half(d), _half(1.5 * d)])


def _q3_k(source: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Quants of 3 bits (the high ones first), scales of 6 bits, d."""
    return np.hstack([_noise(source, 32), _noise(source, 64), _noise(source, 12), _half(_SPREAD / 42.0)])


def _q6_k(source: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Quants of 6 bits, scales of 8 bits, d."""
    scales = source.integers(-8, 9, (_TILE_BLOCKS, 16), dtype=np.int8).view(np.uint8)
    return np.hstack([_noise(source, 128), _noise(source, 64), scales, _half(_SPREAD / 90.0)])


_F32 = _Format(0, 1, 4, _f32)
_Q2_K = _Format(10, 256, 84, _q2_k)
_Q3_K = _Format(11, 256, 110, _q3_k)
_Q6_K = _Format(14, 256, 210, _q6_k)

if __name__ == "__main__":
    print(cached())
