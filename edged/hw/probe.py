"""All the facts at once, within a time limit."""

import time
from collections.abc import Mapping, Sequence

from edged.hw.cpu import cpu_facts
from edged.hw.memory import memory_facts
from edged.hw.residency import Run
from edged.hw.snapshot import HardwareSnapshot, MemoryFacts
from edged.hw.storage import storage_facts


def probe(
    paths: Sequence[str],
    wanted: Mapping[str, Sequence[Run]] | None = None,
    time_budget_s: float = 0.5,
    memory: MemoryFacts | None = None,
) -> HardwareSnapshot:
    """Measure this machine, and the storage of these model files (or folders), within the budget.

    Of a file in `wanted` only those parts are read: what a load wants anyway, so that no read is in vain.
    `memory` are facts that were taken before, if any.

    Best effort by field: what cannot be found out, or not in time, is None. Never raises for the machine.
    """
    start = time.monotonic()
    memory, cpu = memory or memory_facts(), cpu_facts()
    storage, files = storage_facts(paths, start + time_budget_s, wanted)
    return HardwareSnapshot(
        memory=memory, cpu=cpu, storage=storage, files=files, probe_s=time.monotonic() - start
    )
