"""Which weights llama.cpp copies into anonymous memory in a layout that suits this CPU's matrix kernels.

From `ggml_repack_get_optimal_repack_type` in `ggml/src/ggml-cpu/repack.cpp` and `amx/amx.cpp`. RISC-V, where
it depends on the vector length, is left out: nothing is counted there.
"""

from collections.abc import Collection
from typing import NamedTuple

from edged.gguf.header import GgufHeader, TensorInfo
from edged.gguf.layout import ROW_TABLES, is_tied

# Read row by row, by token or by position: never a matrix product's weight.
_LOOKED_UP = ROW_TABLES | {"position_embd.weight", "token_types.weight"}


class _Rule(NamedTuple):
    """On a CPU with all of `needs`, tensors of these types with a multiple of `rows` rows are repacked."""

    needs: frozenset[str]
    types: frozenset[str]
    rows: int


_RULES = (
    _Rule(frozenset({"avx2"}), frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}), 8),
    _Rule(frozenset({"avx512f"}), frozenset({"Q2_K"}), 8),
    _Rule(frozenset({"neon", "dotprod"}), frozenset({"Q4_0", "Q8_0", "Q1_0", "IQ4_NL", "MXFP4"}), 4),
    _Rule(frozenset({"neon", "dotprod"}), frozenset({"Q4_K", "Q5_K", "Q6_K"}), 8),
    _Rule(frozenset({"neon", "i8mm"}), frozenset({"Q4_0", "Q8_0", "Q1_0"}), 4),
    _Rule(frozenset({"neon", "i8mm"}), frozenset({"Q4_K", "Q5_K", "Q6_K"}), 8),
    _Rule(frozenset({"vxe"}), frozenset({"Q4_0"}), 4),
    _Rule(
        frozenset({"amx_int8", "avx512_vnni"}),
        frozenset({"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "F16"}),
        32,
    ),
)
# The kernel's names for what ggml calls otherwise.
_ALIASES = {"asimd": "neon", "asimddp": "dotprod"}


def repacked_tensors(header: GgufHeader, instruction_sets: Collection[str]) -> tuple[TensorInfo, ...]:
    """The tensors that would be copied on a CPU with these instruction sets (names as in /proc/cpuinfo)."""
    has = {_ALIASES.get(name, name) for name in instruction_sets}
    rules = [rule for rule in _RULES if rule.needs <= has]
    # Without an output matrix the token table is loaded a second time, as that matrix.
    looked_up = _LOOKED_UP - ({"token_embd.weight"} if is_tied(header) else set())
    return tuple(
        tensor
        for tensor in header.tensors
        if tensor.name not in looked_up and any(_suits(tensor, rule) for rule in rules)
    )


def replaced_tensors(header: GgufHeader, instruction_sets: Collection[str]) -> tuple[TensorInfo, ...]:
    """Those that are not used in the file any more once they are copied."""
    copied = repacked_tensors(header, instruction_sets)
    # The rows of a tied token table are still looked up in the file.
    return tuple(tensor for tensor in copied if tensor.name != "token_embd.weight")


def _suits(tensor: TensorInfo, rule: _Rule) -> bool:
    return len(tensor.dims) > 1 and tensor.type_name in rule.types and tensor.dims[1] % rule.rows == 0
