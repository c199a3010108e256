"""Which slot a prompt goes to, and whose cells it takes over instead of computing them again. Pure."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from edged.runner.engine.sequence import Slot

# A copy moves all cells of a slot: it costs as much as computing about so many tokens (measured: 3 to 20).
MIN_COPIED_TOKENS = 16


def common_length(one: list[int], other: list[int]) -> int:
    """How many leading tokens are equal; by halving, since slices are compared in C."""
    equal, unequal = 0, min(len(one), len(other))
    if one[:unequal] == other[:unequal]:
        return unequal
    while unequal - equal > 1:
        middle = (equal + unequal) // 2
        if one[equal:middle] == other[equal:middle]:
            equal = middle
        else:
            unequal = middle
    return equal


@dataclass(frozen=True, slots=True)
class Placement:
    """A prompt goes to `slot`, where `n_tokens` of it are reused: its own cells, or copies from `source`."""

    slot: Slot
    n_tokens: int
    source: Slot | None = None


def place(slots: SequenceOf[Slot], shared: SequenceOf[int], admission: int) -> Placement:
    """The free slot where a prompt saves most, less what is lost there.

    `shared[i]`: how many of the prompt's tokens slot i can give; `admission`: the number of this one. The
    longer nobody asked for a slot's cells, the less they are worth: half for every round of admissions.
    """
    best = max(slots, key=lambda slot: shared[slot.index])

    def gain(slot: Slot) -> float:
        unused_for = (admission - slot.used_at) / len(slots)
        worth = float(2.0 ** -(1 + unused_for))
        return _saved(slot) - worth * _lost(slot, slots, shared[slot.index])

    def _saved(slot: Slot) -> int:
        return max(shared[slot.index], shared[best.index] - MIN_COPIED_TOKENS)

    # of equals the emptiest: nothing can be lost there
    slot = max(
        (slot for slot in slots if not slot.sequence), key=lambda slot: (gain(slot), -len(slot.cached))
    )
    if shared[best.index] - shared[slot.index] >= MIN_COPIED_TOKENS:
        return Placement(slot, shared[best.index], best)
    return Placement(slot, shared[slot.index])


def _lost(slot: Slot, slots: SequenceOf[Slot], kept: int) -> int:
    """Tokens that no slot holds any more once this one keeps only `kept`."""
    elsewhere = max(
        (common_length(slot.cached, each.cached) for each in slots if each is not slot), default=0
    )
    return max(0, len(slot.cached) - max(kept, elsewhere))


def leader_of(slot: Slot, running: SequenceOf[Slot]) -> tuple[Slot, int] | None:
    """The slot that computes what this one's prompt begins with, and how much of it; None: nobody does.

    Only slots that are further along (of equals, the one with the lower number) lead, so that none waits for
    itself in a circle.
    """
    leader, most = None, len(slot.cached) + MIN_COPIED_TOKENS - 1
    if slot.sequence is None:
        return None
    tokens = slot.sequence.tokens
    for other in running:
        further = (len(other.cached), -other.index) > (len(slot.cached), -slot.index)
        if other.sequence is None or not further:
            continue
        common = min(common_length(tokens, other.sequence.tokens), len(tokens) - 1)
        if common > most:
            leader, most = other, common
    return (leader, most) if leader else None
