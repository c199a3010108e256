"""Which layers cache how much, for the kinds of attention there are."""

import pytest

from edged.gguf.header import GgufHeader, Scalar
from edged.gguf.kv_cache import kv_bytes, kv_layout, windowed_layers
from tests.unit.gguf.headers import gemma3, header, minilm, tensor

_SHAPE: dict[str, Scalar] = {
    "block_count": 8,
    "embedding_length": 128,
    "context_length": 4096,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.sliding_window": 512,
}


def _model(
    architecture: str, arrays: dict[str, tuple[int | float | bool, ...]] | None = None, **changes: Scalar
) -> GgufHeader:
    metadata = {**_SHAPE, **{key.replace("__", "."): value for key, value in changes.items()}}
    return header(architecture, metadata, [tensor("output.weight", "F32", 4)], arrays=arrays)


def _full_layers(model: GgufHeader) -> list[int]:
    return [layer for layer, windowed in enumerate(windowed_layers(model)) if not windowed]


@pytest.mark.parametrize(
    ("architecture", "full_layers"),
    [
        ("llama", [*range(8)]),  # says something about a window, but llama.cpp caches everything
        ("phi3", [*range(8)]),
        ("gemma2", [1, 3, 5, 7]),
        ("gemma3", [5]),
        ("gpt-oss", [1, 3, 5, 7]),
        ("smallthinker", [0, 4]),
        ("exaone4", [*range(8)]),  # only with 64 layers
    ],
)
def test_which_layers_see_everything(architecture: str, full_layers: list[int]) -> None:
    assert _full_layers(_model(architecture)) == full_layers


def test_a_pattern_in_the_file_is_taken() -> None:
    assert _full_layers(_model("gemma3", attention__sliding_window_pattern=4)) == [3, 7]
    flags = (True, False, True, True, True, True, True, False)
    assert _full_layers(_model("gemma4", {"attention.sliding_window_pattern": flags})) == [1, 7]


def test_a_period_of_zero_windows_every_layer() -> None:
    assert _full_layers(_model("gemma3", attention__sliding_window_pattern=0)) == []


def test_no_window_where_the_file_names_none() -> None:
    assert _full_layers(_model("gemma3", attention__sliding_window=0)) == [*range(8)]
    assert _full_layers(_model("gemma2", attention__sliding_window=0)) == [
        1,
        3,
        5,
        7,
    ]  # 4096 unless it says so


@pytest.mark.parametrize(
    ("n_ctx", "n_seq_max", "unified", "full", "cells"),
    [
        (4096, 1, False, False, (4096, 768)),  # 512 + 64, rounded up to 256
        (4096, 1, False, True, (4096, 4096)),
        (300, 1, False, False, (512, 512)),
        (4096, 4, False, False, (16384, 3072)),
        (4096, 4, True, False, (16384, 2304)),  # 4 * 512 + 64
        (1000, 3, False, False, (3072, 2304)),
        (1, 1, False, False, (256, 256)),
    ],
)
def test_cells(n_ctx: int, n_seq_max: int, unified: bool, full: bool, cells: tuple[int, int]) -> None:
    layout = kv_layout(gemma3(), n_ctx, n_seq_max, 64, unified=unified, full=full)
    assert (layout.full_cells, layout.window_cells) == cells


def _bytes(model: GgufHeader, type_k: str = "f16", type_v: str = "f16") -> int:
    return kv_bytes(model, kv_layout(model, 1024, 1, 64, unified=False, full=False), type_k, type_v)


def test_bytes_of_plain_layers() -> None:
    assert _bytes(_model("llama")) == 8 * 1024 * (2 * 32) * 2 * 2
    assert _bytes(_model("llama"), "q8_0", "f32") == 8 * 1024 * ((2 * 32) // 32 * 34 + 2 * 32 * 4)


def test_layers_without_heads_cache_nothing() -> None:
    model = _model("lfm2", {"attention.head_count_kv": (0, 0, 2, 0, 0, 2, 0, 0)})
    assert _bytes(model) == _bytes(_model("llama")) // 4


def test_layers_that_use_the_cache_of_others() -> None:
    assert _bytes(_model("llama", attention__shared_kv_layers=6)) == _bytes(_model("llama")) // 4
    assert _bytes(_model("gemma3n", block_count=30, attention__sliding_window=4096)) == 20 * 1024 * 64 * 4


def test_compressed_attention_stores_no_values() -> None:
    model = _model("deepseek2", attention__key_length_mla=192)
    assert _bytes(model) == _bytes(_model("llama")) // 2


def test_windowed_layers_may_have_heads_of_their_own_width() -> None:
    flags = {"attention.sliding_window_pattern": (True,) * 8}
    narrow = _model("gemma4", {**flags}, attention__key_length_swa=16, attention__value_length_swa=16)
    assert _bytes(narrow) == _bytes(_model("gemma4", {**flags})) // 2


def test_encoders_have_no_cache() -> None:
    assert _bytes(minilm()) == 0
