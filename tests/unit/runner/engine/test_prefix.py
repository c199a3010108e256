"""Where prompts go, and whom they follow."""

from hypothesis import given
from hypothesis import strategies as st

from edged.runner.engine.prefix import common_length, leader_of, place
from edged.runner.engine.sequence import Sequence, Slot
from edged.runner.engine.text import TextStream
from tests.unit.runner.engine.test_scheduler import FakeSampler

_tokens = st.lists(st.integers(0, 2), max_size=40)


@given(_tokens, _tokens)
def test_the_common_length_is_that_of_the_plain_loop(one: list[int], other: list[int]) -> None:
    plain = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    assert common_length(one, other) == (min(len(one), len(other)) if plain is None else plain)


def _slots(*cached: list[int]) -> list[Slot]:
    return [Slot(index, list(tokens)) for index, tokens in enumerate(cached)]


def _busy(slot: Slot, tokens: list[int]) -> Slot:
    slot.sequence = Sequence(slot.index, tokens, len(tokens), 8, FakeSampler(), TextStream())
    return slot


def _place(slots: list[Slot], tokens: list[int], admission: int = 0) -> tuple[int, int, int | None]:
    shared = [min(common_length(slot.cached, tokens), len(tokens) - 1) for slot in slots]
    placed = place(slots, shared, admission)
    return placed.slot.index, placed.n_tokens, placed.source.index if placed.source else None


SYSTEM = list(range(50))


def test_a_conversation_goes_on_in_its_slot() -> None:
    mine = [*SYSTEM, *range(100, 200)]
    slots = _slots([*SYSTEM, *range(300, 400)], mine, [])
    assert _place(slots, [*mine, 1, 2]) == (1, 150, None)


def test_a_new_conversation_leaves_others_alone_and_copies_what_they_share() -> None:
    slots = _slots([*SYSTEM, *range(100, 200)], [])
    assert _place(slots, [*SYSTEM, 1, 2]) == (1, 50, 0)


def test_what_a_busy_slot_computed_is_copied() -> None:
    slots = _slots([*SYSTEM, *range(100, 200)], [7, 8])
    _busy(slots[0], SYSTEM)
    assert _place(slots, [*SYSTEM, 1, 2]) == (1, 50, 0)


def test_a_few_common_tokens_are_not_worth_a_copy() -> None:
    slots = _slots([1, 2, 3, *range(100, 200)], [])
    assert _place(slots, [1, 2, 3, 4]) == (1, 0, None)


def test_among_full_slots_the_one_that_nobody_asked_for_longest_goes() -> None:
    slots = _slots(list(range(100, 200)), list(range(200, 300)), list(range(300, 400)))
    for slot, used_at in zip(slots, (7, 5, 6), strict=True):
        slot.used_at = used_at
    assert _place(slots, [1, 2], admission=8) == (1, 0, None)


def test_short_leftovers_go_before_long_conversations_of_the_same_age() -> None:
    slots = _slots(list(range(100, 1100)), list(range(20)))
    assert _place(slots, [9000, 9001]) == (1, 0, None)


def test_cells_that_another_slot_holds_too_are_no_loss() -> None:
    slots = _slots(SYSTEM, [*SYSTEM, 60, 61], list(range(100, 120)))
    assert _place(slots, [9000, 9001]) == (0, 0, None)


def test_of_two_that_begin_alike_the_one_further_along_leads() -> None:
    slots = _slots([], SYSTEM[:20])
    for slot in slots:
        _busy(slot, [*SYSTEM, slot.index])
    assert leader_of(slots[0], slots) == (slots[1], 50)
    assert leader_of(slots[1], slots) is None


def test_nobody_waits_for_a_few_tokens() -> None:
    slots = _slots([], [1])
    for slot in slots:
        _busy(slot, [*SYSTEM[:10], 1000 + slot.index])
    assert leader_of(slots[0], slots) is None
