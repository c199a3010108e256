"""How much memory the models may take together, and how they share it."""

from collections.abc import Mapping, Sequence

import msgspec

from edged.config.schema import Memory
from edged.config.units import format_bytes
from edged.hw.snapshot import MemoryFacts

UNLIMITED_BYTES = 1 << 60


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What all models together may take now, and where that number comes from."""

    total_bytes: int
    origin: str
    is_known: bool = True
    pinned: Mapping[str, int] = {}  # what models that never leave take of it, where it is less for that

    @property
    def text(self) -> str:
        """For a sentence: `1.2 GiB for models (1.3 GiB available, 128 MiB in reserve)`."""
        beside = "".join(
            f", {format_bytes(taken_bytes)} taken by {model}, which is pinned"
            for model, taken_bytes in self.pinned.items()
        )
        return f"{format_bytes(self.total_bytes)} for models ({self.origin}{beside})"

    def beside(self, pinned: Mapping[str, int]) -> "Budget":
        """What others can have when all leave but the pinned ones."""
        left_bytes = max(0, self.total_bytes - sum(pinned.values()))
        return msgspec.structs.replace(self, total_bytes=left_bytes, pinned=pinned)


def budget_of(facts: MemoryFacts, memory: Memory) -> Budget:
    """The configured budget, but never more than is there: what is available now, less the reserve."""
    usable = facts.usable_bytes
    if usable is None:
        if memory.budget == "auto":
            return Budget(total_bytes=UNLIMITED_BYTES, origin="available memory is unknown", is_known=False)
        return Budget(total_bytes=memory.budget, origin="memory.budget")
    there = max(0, usable - memory.reserve)
    origin = f"{format_bytes(usable)} available, {format_bytes(memory.reserve)} in reserve"
    if memory.budget == "auto":
        return Budget(total_bytes=there, origin=origin)
    if memory.budget <= there:
        return Budget(total_bytes=memory.budget, origin="memory.budget")
    return Budget(
        total_bytes=there, origin=f"memory.budget is {format_bytes(memory.budget)}, but only {origin}"
    )


def divided(spare_bytes: int, wants_bytes: Sequence[int]) -> tuple[int, ...]:
    """Divide what is spare among wants: equal parts, and what one does not need goes to the others."""
    parts = [0] * len(wants_bytes)
    left = spare_bytes
    for n_done, index in enumerate(sorted(range(len(wants_bytes)), key=lambda i: wants_bytes[i])):
        parts[index] = min(wants_bytes[index], left // (len(wants_bytes) - n_done))
        left -= parts[index]
    return tuple(parts)
