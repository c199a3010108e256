"""Which part of a file that does not fit is kept in memory.

A pass over the weights touches every page in the same order. Under pressure the kernel drops the page that
was used longest ago, which is just the one that comes next: without pinning every token reads the whole
file. With a part pinned, a token reads the rest.
"""

from collections.abc import Sequence

from edged.gguf.layout import FileSpan

# For what is read through: the kernel's readahead reaches this far ahead of the pass.
WINDOW_BYTES = 32 << 20
# Of the anonymous memory, for what its prediction may be off by: pinned pages cannot give way.
MARGIN_SHARE = 0.1


def pinned_spans(
    spans: Sequence[FileSpan], room_bytes: int, anon_bytes: int, readahead_bytes: int
) -> tuple[FileSpan, ...]:
    """The first of `spans` (in the order of their use) that `room_bytes` can hold beside everything else."""
    window_bytes = max(WINDOW_BYTES, 2 * readahead_bytes)
    left_bytes = room_bytes - round(anon_bytes * (1 + MARGIN_SHARE)) - window_bytes
    pinned = []
    for span in spans:
        if left_bytes <= 0:
            break
        pinned.append(FileSpan(span.offset, min(span.length, left_bytes)))
        left_bytes -= span.length
    return tuple(pinned)
