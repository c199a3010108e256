"""States of recurrent and hybrid models: which layers have one, how large it is, and what llama.cpp says."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edged.gguf.footprint import ContextSettings, footprint
from edged.gguf.header import GgufHeader, Scalar, read_header
from edged.gguf.kv_cache import kv_bytes, kv_layout
from edged.gguf.recurrent import attends, recurrent_layers, state_bytes
from tests.gguf_files import Tensor, Value, gguf_bytes
from tests.unit.gguf.headers import gemma3, header, tensor

_SHAPE: dict[str, Scalar] = {
    "block_count": 8,
    "embedding_length": 128,
    "context_length": 4096,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 256,
    "ssm.state_size": 16,
}
_HEADS = (0, 2, 0, 0, 0, 2, 0, 0)


def _model(
    architecture: str, arrays: dict[str, tuple[int | float | bool, ...]] | None = None, **changes: Scalar
) -> GgufHeader:
    metadata = {**_SHAPE, **{key.replace("__", "."): value for key, value in changes.items()}}
    metadata = {key: value for key, value in metadata.items() if key not in (arrays or {})}
    return header(architecture, metadata, [tensor("output.weight", "F32", 4)], arrays=arrays)


def _recurrent(model: GgufHeader) -> list[int]:
    return [layer for layer, recurrent in enumerate(recurrent_layers(model)) if recurrent]


def test_which_layers_keep_a_state() -> None:
    assert _recurrent(_model("llama")) == []
    assert _recurrent(_model("mamba")) == [*range(8)]
    assert _recurrent(_model("lfm2", {"attention.head_count_kv": _HEADS})) == [0, 2, 3, 4, 6, 7]
    assert _recurrent(_model("qwen35")) == [0, 1, 2, 4, 5, 6]
    assert _recurrent(_model("qwen35", full_attention_interval=2)) == [0, 2, 4, 6]
    flags = (True, False) * 4
    assert _recurrent(_model("qwen35", {"attention.recurrent_layers": flags})) == [0, 2, 4, 6]


def test_a_feed_forward_network_alone_keeps_nothing() -> None:
    n_ff = (0, 0, 512, 0, 512, 0, 512, 0)
    model = _model("nemotron_h", {"attention.head_count_kv": _HEADS, "feed_forward_length": n_ff})
    assert _recurrent(model) == [0, 3, 7]


def test_what_attends_besides() -> None:
    assert attends(_model("falcon-h1")) == (True,) * 8 == recurrent_layers(_model("falcon-h1"))
    assert attends(_model("qwen35")) == tuple(layer in (3, 7) for layer in range(8))
    assert attends(gemma3()) == (True,) * 18


def test_only_layers_that_attend_cache_keys_and_values() -> None:
    def cached_bytes(model: GgufHeader) -> int:
        layout = kv_layout(model, 512, 1, 64, unified=False, full=False)
        return kv_bytes(model, layout, "f16", "f16")

    assert cached_bytes(_model("qwen35")) * 4 == cached_bytes(_model("llama"))
    assert cached_bytes(_model("mamba")) == 0


@pytest.mark.parametrize(
    ("model", "floats_of_a_layer", "n_layers"),
    [
        (_model("mamba"), 3 * 256 + 16 * 256, 8),
        (_model("mamba2", ssm__group_count=2), 3 * (256 + 2 * 2 * 16) + 16 * 256, 8),
        (_model("lfm2", {"attention.head_count_kv": _HEADS}, shortconv__l_cache=3), 2 * 128, 6),
        (_model("rwkv7", wkv__head_size=64), 128 * (2 + 64), 8),
        (_model("rwkv6qwen2", wkv__head_size=64, token_shift_count=1), 128 * (1 + 64), 8),
        (_model("kimi-linear", {"attention.head_count_kv": _HEADS}, kda__head_dim=32), 4 * 32 * (9 + 32), 6),
        (_model("minimax-01"), 4 * 32 * 32, 7),
        (_model("llama"), 0, 0),
    ],
)
def test_a_state_has_as_many_floats_as_llama_cpp_gives_it(
    model: GgufHeader, floats_of_a_layer: int, n_layers: int
) -> None:
    assert state_bytes(model, 1) == 4 * floats_of_a_layer * n_layers
    assert state_bytes(model, 3) == 3 * state_bytes(model, 1)


_LOG_OF_A_CONTEXT = """
import ctypes, sys
from llama_cpp import llama_cpp as api

@api.llama_log_callback
def log(level, text, data):
    sys.stdout.write(text.decode())

api.llama_log_set(log, ctypes.c_void_p(0))
api.llama_backend_init()
model = api.llama_model_load_from_file(sys.argv[1].encode(), api.llama_model_default_params())
params = api.llama_context_default_params()
params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = 3 * 256, 3, 64, 64
context = api.llama_init_from_model(model, params)
api.llama_free(context)
api.llama_model_free(model)
"""


def test_the_installed_llama_cpp_sizes_a_state_so(tmp_path: Path) -> None:
    model = _tiny_mamba(tmp_path / "mamba.gguf")
    done = subprocess.run(
        [sys.executable, "-c", _LOG_OF_A_CONTEXT, str(model)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    logged = re.search(r"RS buffer size = +([0-9.]+) MiB", done.stdout)
    assert logged is not None, done.stdout
    found = read_header(model)
    assert state_bytes(found, 3) / (1 << 20) == pytest.approx(float(logged[1]), abs=0.006)
    assert state_bytes(found, 3) > 1 << 19
    sizes = footprint(found, ContextSettings(n_ctx=256, n_seq_max=3, n_ubatch=64))
    assert sizes.kv_bytes == state_bytes(found, 3)


def _tiny_mamba(path: Path, n_layer: int = 16, n_embd: int = 128) -> Path:
    """A model that llama.cpp makes a context for; every weight is 0."""
    inner, state, n_rank, n_conv = 2 * n_embd, 16, 8, 4
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    metadata: dict[str, Value] = {
        "general.architecture": ("str", "mamba"),
        "mamba.context_length": ("u32", 1024),
        "mamba.embedding_length": ("u32", n_embd),
        "mamba.feed_forward_length": ("u32", 0),
        "mamba.attention.head_count": ("u32", 0),
        "mamba.block_count": ("u32", n_layer),
        "mamba.ssm.conv_kernel": ("u32", n_conv),
        "mamba.ssm.inner_size": ("u32", inner),
        "mamba.ssm.state_size": ("u32", state),
        "mamba.ssm.time_step_rank": ("u32", n_rank),
        "mamba.attention.layer_norm_rms_epsilon": ("f32", 1e-5),
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.scores": ("[f32]", [0.0] * len(tokens)),
        "tokenizer.ggml.token_type": ("[i32]", [2, 3, 3, *[6] * 256]),
        "tokenizer.ggml.bos_token_id": ("u32", 1),
        "tokenizer.ggml.eos_token_id": ("u32", 2),
        "tokenizer.ggml.unknown_token_id": ("u32", 0),
    }
    tensors = [_zeros("token_embd.weight", n_embd, len(tokens)), _zeros("output_norm.weight", n_embd)]
    for layer in range(n_layer):
        stem = f"blk.{layer}."
        tensors += [
            _zeros(f"{stem}attn_norm.weight", n_embd),
            _zeros(f"{stem}ssm_in.weight", n_embd, 2 * inner),
            _zeros(f"{stem}ssm_conv1d.weight", n_conv, inner),
            _zeros(f"{stem}ssm_conv1d.bias", inner),
            _zeros(f"{stem}ssm_x.weight", inner, n_rank + 2 * state),
            _zeros(f"{stem}ssm_dt.weight", n_rank, inner),
            _zeros(f"{stem}ssm_dt.bias", inner),
            _zeros(f"{stem}ssm_a", state, inner),
            _zeros(f"{stem}ssm_d", inner),
            _zeros(f"{stem}ssm_out.weight", inner, n_embd),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def _zeros(name: str, *dims: int) -> Tensor:
    n_values = dims[0] * (dims[1] if len(dims) > 1 else 1)
    return Tensor(name, dims, struct.pack(f"<{n_values}f", *[0.0] * n_values))
