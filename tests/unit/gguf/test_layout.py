"""The order in which a file is read."""

from itertools import pairwise
from typing import Literal

import pytest

from edged.gguf.header import GgufHeader
from edged.gguf.layout import FileSpan, prefetch_ranges, random_access_ranges, token_table_range
from tests.unit.gguf.headers import gemma3, header, minilm, smollm2, tensor

_SHAPE = {"block_count": 2, "embedding_length": 8, "context_length": 8}


def _span(model: GgufHeader, name: str) -> FileSpan:
    found = model.tensor(name)
    assert found is not None
    return FileSpan(found.offset, found.size_bytes)


def _order(model: GgufHeader) -> list[str]:
    """Names in the order of reading, spans taken apart again."""
    return [
        each.name
        for span in prefetch_ranges(model, "generate")
        for each in model.tensors
        if span.offset <= each.offset < span.offset + span.length
    ]


def _shuffled(*names: str) -> GgufHeader:
    return header("llama", {**_SHAPE}, [tensor(name, "F32", 8) for name in names])


def test_blocks_go_by_number_between_input_and_output() -> None:
    model = _shuffled(
        "blk.10.attn_q.weight",
        "output_norm.weight",
        "blk.2.attn_q.weight",
        "token_embd.weight",
        "output.weight",
        "blk.2.ffn_up.weight",
        "rope_freqs.weight",
    )
    assert _order(model) == [
        "rope_freqs.weight",
        "blk.2.attn_q.weight",
        "blk.2.ffn_up.weight",
        "blk.10.attn_q.weight",
        "output_norm.weight",
        "output.weight",
        "token_embd.weight",
    ]


def test_an_encoder_goes_before_its_decoder() -> None:
    model = _shuffled("dec.blk.0.attn_q.weight", "enc.blk.1.attn_q.weight", "enc.blk.0.attn_q.weight")
    assert _order(model) == ["enc.blk.0.attn_q.weight", "enc.blk.1.attn_q.weight", "dec.blk.0.attn_q.weight"]


def test_neighbours_are_one_span() -> None:
    model = _shuffled("blk.0.attn_q.weight", "blk.1.attn_q.weight", "output_norm.weight")
    last = _span(model, "output_norm.weight")
    assert prefetch_ranges(model, "generate") == (FileSpan(0, last.offset + last.length),)


def test_padding_does_not_part_neighbours() -> None:
    model = header("llama", {**_SHAPE}, [tensor("blk.0.a", "F32", 3), tensor("blk.0.b", "F32", 3)])
    assert len(prefetch_ranges(model, "generate")) == 1


@pytest.mark.parametrize("model", [smollm2(), gemma3(), minilm()], ids=["smollm2", "gemma3", "minilm"])
@pytest.mark.parametrize("kind", ["generate", "embed"])
def test_every_tensor_is_read_once(model: GgufHeader, kind: Literal["generate", "embed"]) -> None:
    spans = sorted((*prefetch_ranges(model, kind), *random_access_ranges(model, kind)))
    assert spans[0].offset == 0
    assert all(before.offset + before.length <= after.offset for before, after in pairwise(spans))
    for each in model.tensors:
        assert any(
            span.offset <= each.offset and each.offset + each.size_bytes <= span.offset + span.length
            for span in spans
        )


def test_embedding_leaves_the_token_table_out() -> None:
    model = minilm()
    table = token_table_range(model)
    assert table == _span(model, "token_embd.weight")
    assert random_access_ranges(model, "embed") == (table,)
    assert all(
        span.offset + span.length <= table.offset or table.offset + table.length <= span.offset
        for span in prefetch_ranges(model, "embed")
    )


def test_an_embedding_decoder_needs_all_of_a_tied_table() -> None:
    """It computes logits too, although nobody reads them."""
    assert random_access_ranges(smollm2(), "embed") == ()
    untied = _shuffled("token_embd.weight", "output.weight")
    assert random_access_ranges(untied, "embed") == (_span(untied, "token_embd.weight"),)


def test_generating_needs_all_of_a_tied_table_but_last() -> None:
    model = smollm2()
    assert random_access_ranges(model, "generate") == ()
    assert prefetch_ranges(model, "generate")[-1] == token_table_range(model)


def test_a_file_without_a_token_table() -> None:
    assert token_table_range(_shuffled("output.weight")) is None
