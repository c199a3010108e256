"""What is pinned of a file that does not fit."""

from edged.gguf.layout import FileSpan
from edged.policy.pinning import WINDOW_BYTES, pinned_spans

MIB = 1 << 20
_SPANS = [FileSpan(50 * MIB, 40 * MIB), FileSpan(0, 50 * MIB)]


def test_the_spans_used_first_are_pinned_and_the_last_is_cut() -> None:
    room = WINDOW_BYTES + 110 * MIB + 45 * MIB
    assert pinned_spans(_SPANS, room, 100 * MIB, 0) == (FileSpan(50 * MIB, 40 * MIB), FileSpan(0, 5 * MIB))


def test_nothing_is_pinned_where_the_window_takes_all_there_is() -> None:
    assert pinned_spans(_SPANS, WINDOW_BYTES + 110 * MIB, 100 * MIB, 0) == ()
    assert pinned_spans(_SPANS, 0, 100 * MIB, 0) == ()


def test_a_long_readahead_keeps_more_room_for_itself() -> None:
    room = 110 * MIB + 64 * MIB + MIB
    assert pinned_spans(_SPANS, room, 100 * MIB, 32 * MIB) == (FileSpan(50 * MIB, MIB),)
