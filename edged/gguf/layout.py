"""Which bytes of a model file are wanted when: the order in which a reader should fill the page cache."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from edged.gguf.header import GgufHeader, TensorInfo

# Tables of which a request needs only the rows of its own tokens.
ROW_TABLES = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})
_BLOCK = re.compile(r"^(?:(enc|dec)\.)?blk\.(\d+)\.")
_Kind = Literal["generate", "embed", "rank"]
_LAST = ("output", "cls", "dec.output", "dense_")


class FileSpan(NamedTuple):
    """A piece of the file, in bytes from its start."""

    offset: int
    length: int


def token_table_range(header: GgufHeader) -> FileSpan | None:
    """Where the token-embedding table lies."""
    table = header.tensor("token_embd.weight")
    return None if table is None else FileSpan(table.offset, table.size_bytes)


def is_tied(header: GgufHeader) -> bool:
    """Whether the token table is also the output matrix, of which every token needs all."""
    return not header.is_encoder and header.tensor("output.weight") is None


def prefetch_ranges(header: GgufHeader, kind: _Kind) -> tuple[FileSpan, ...]:
    """The spans to read, first wanted first: metadata and vocabulary, then the weights as the first pass
    touches them. Neighbours are one span. What `random_access_ranges` returns is not among them.

    The token table comes last: as the output matrix it is used last, and otherwise only a few of its rows
    are used, which a page fault fetches meanwhile.
    """
    left_out = _random_tables(header, kind)
    ordered = sorted((tensor for tensor in header.tensors if tensor not in left_out), key=_turn)
    spans = (FileSpan(tensor.offset, tensor.size_bytes) for tensor in ordered)
    return _merged([FileSpan(0, header.tensor_data_offset), *spans], header.alignment)


def random_access_ranges(header: GgufHeader, kind: _Kind) -> tuple[FileSpan, ...]:
    """The spans of which only rows here and there are read, so that reading ahead would waste the storage."""
    tables = sorted(_random_tables(header, kind), key=lambda tensor: tensor.offset)
    return _merged([FileSpan(tensor.offset, tensor.size_bytes) for tensor in tables], header.alignment)


def _random_tables(header: GgufHeader, kind: _Kind) -> tuple[TensorInfo, ...]:
    if kind == "generate":
        return ()
    # A decoder computes its logits even when only its vectors are wanted.
    needed = {"token_embd.weight"} if is_tied(header) else set()
    return tuple(tensor for tensor in header.tensors if tensor.name in ROW_TABLES - needed)


def _turn(tensor: TensorInfo) -> tuple[int, int, int]:
    """When a pass wants the tensor: input, encoder blocks, decoder blocks, output, token table.

    Within a block the order in the file is kept: it is as good, and sequential.
    """
    if tensor.name in ROW_TABLES:
        return 4, 0, tensor.offset
    if block := _BLOCK.match(tensor.name):
        return (1 if block[1] == "enc" else 2), int(block[2]), tensor.offset
    return (3 if tensor.name.startswith(_LAST) else 0), 0, tensor.offset


def _merged(spans: Iterable[FileSpan], alignment: int) -> tuple[FileSpan, ...]:
    merged: list[FileSpan] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last is not None and 0 <= span.offset - (last.offset + last.length) < alignment:
            merged[-1] = FileSpan(last.offset, span.offset + span.length - last.offset)
        else:
            merged.append(span)
    return tuple(merged)
