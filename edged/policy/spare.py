"""Whether a runner that waits for the next load is worth the memory that it takes."""

from edged.config.schema import Memory
from edged.hw.snapshot import MemoryFacts

# Resident pages of one that waits alone, measured on x86-64; beside other runners, which share its
# libraries' pages, it is 24 MiB, of which 20 are its own.
SPARE_BYTES = 35 << 20
# Of all that models may have: a box of 512 MB has 384 beyond the reserve, of which a spare would take a
# tenth, and of 1 GB it takes 4 %.
_MOST_SHARE = 1 / 16


def capacity_bytes(facts: MemoryFacts, memory: Memory) -> int | None:
    """What models could have if nothing else ran here, by budget and reserve; None: unknown."""
    sizes = [size for size in (facts.total_bytes, facts.cgroup_limit_bytes) if size is not None]
    if not sizes:
        return None
    there = max(0, min(sizes) - memory.reserve)
    return there if memory.budget == "auto" else min(there, memory.budget)


def is_small_share(spare_bytes: int, capacity_bytes: int | None) -> bool:
    """Whether a spare that takes so much is no burden; it may be one where the whole is unknown."""
    return capacity_bytes is not None and spare_bytes <= capacity_bytes * _MOST_SHARE
