"""edged with models that hold nothing: `python -m tests.bench.fake_daemon run …` takes files `fake:…`.

All else is edged as it is: its processes, its HTTP, its life cycle.
"""

from collections.abc import Callable
from typing import Any

from edged import daemon
from edged.cli.main import main
from edged.config.schema import Config
from edged.hw.snapshot import CpuFacts, HardwareSnapshot, MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.spares import Ahead
from tests.plans import fake_plan


def _planner(config: Config, *_record: Any) -> Callable[[Ahead | None], Planned]:
    plans = tuple(
        fake_plan(model, settings.file, at_start=settings.preload)
        for model, settings in config.models.items()
    )
    snapshot = HardwareSnapshot(memory=MemoryFacts(total_bytes=1 << 30), cpu=CpuFacts(usable_cores=2))
    return lambda _ahead: Planned(snapshot=snapshot, plans=plans, problems={})


if __name__ == "__main__":
    daemon.planner = _planner  # type: ignore[assignment, attr-defined]
    main()
