"""Which tensors are copied on which CPU."""

import pytest

from edged.gguf.header import GgufHeader
from edged.gguf.repack import repacked_tensors, replaced_tensors
from tests.unit.gguf.headers import gemma3, header, minilm, smollm2, tensor

_AVX2 = ("avx2", "fma")
_ARM = ("asimd", "asimddp")
_SHAPE = {"block_count": 1, "embedding_length": 256, "context_length": 8}


def _model(kind: str, *dims: int, untied: bool = True) -> GgufHeader:
    output = [tensor("output.weight", "F32", 4)] if untied else []
    tensors = [tensor("token_embd.weight", kind, *dims), tensor("blk.0.ffn_up.weight", kind, *dims), *output]
    return header("llama", {**_SHAPE}, tensors)


def _names(model: GgufHeader, instruction_sets: tuple[str, ...]) -> list[str]:
    return [each.name for each in repacked_tensors(model, instruction_sets)]


@pytest.mark.parametrize(
    ("kind", "instruction_sets", "copied"),
    [
        ("Q4_0", _AVX2, True),
        ("Q4_K", _AVX2, True),
        ("IQ4_NL", _AVX2, True),
        ("Q8_0", _AVX2, False),
        ("Q4_1", _AVX2, False),
        ("Q6_K", _AVX2, False),
        ("Q2_K", _AVX2, False),
        ("Q2_K", (*_AVX2, "avx512f"), True),
        ("Q4_0", ("avx", "sse4_2"), False),
        ("Q4_0", _ARM, True),
        ("Q8_0", _ARM, True),
        ("Q6_K", _ARM, True),
        ("Q8_0", ("neon", "i8mm"), True),
        ("Q4_K", ("asimd",), False),
        ("F16", _AVX2, False),
        ("F16", (*_AVX2, "amx_int8", "avx512_vnni"), True),
        ("Q8_0", (), False),
    ],
)
def test_types_by_cpu(kind: str, instruction_sets: tuple[str, ...], copied: bool) -> None:
    assert _names(_model(kind, 256, 32), instruction_sets) == (["blk.0.ffn_up.weight"] if copied else [])


def test_rows_must_fill_the_kernels_columns() -> None:
    assert _names(_model("Q4_K", 256, 12), _AVX2) == []
    assert _names(_model("Q4_0", 32, 12), _ARM) == ["blk.0.ffn_up.weight"]
    assert _names(_model("Q4_0", 32), _AVX2) == []


def test_a_tied_token_table_is_copied_as_the_output_matrix() -> None:
    assert _names(_model("Q4_0", 256, 32, untied=False), _AVX2) == [
        "token_embd.weight",
        "blk.0.ffn_up.weight",
    ]


def test_real_models() -> None:
    """Sizes as llama.cpp logged them for its CPU_REPACK buffer."""
    assert sum(each.size_bytes for each in repacked_tensors(gemma3(), _AVX2)) == 12.65625 * (1 << 20)
    assert repacked_tensors(smollm2(), _AVX2) == ()
    assert repacked_tensors(minilm(), _AVX2) == ()
    assert "position_embd.weight" not in _names(minilm(), _ARM)


def test_a_tied_table_is_still_used_in_the_file() -> None:
    model = _model("Q4_0", 256, 32, untied=False)
    assert [each.name for each in replaced_tensors(model, _AVX2)] == ["blk.0.ffn_up.weight"]
