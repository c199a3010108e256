"""What models hold of this machine's memory, measured when somebody asks: it takes some milliseconds."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edged.hw import text
from edged.hw.mapped import mapped_bytes
from edged.hw.memory import parse_meminfo
from edged.hw.residency import residency
from edged.lifecycle.status import ModelStatus
from edged.policy.types import LoadPlan

_TIME_S = 0.5  # for all models together; some 5 ms for a file of 250 MB, three times that on a small board


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One model's memory by kind; None is unknown. All but the file's cold pages is its runner's."""

    anon_bytes: int | None = None
    swapped_bytes: int | None = None
    locked_bytes: int | None = None
    hot_bytes: int | None = None  # of its file, that its runner has in use
    cold_bytes: int | None = None  # of its file, in the page cache besides: the first to go, and no loss
    file_bytes: int | None = None
    cached_share: float | None = None  # of the file, hot and cold


def holdings(plans: Iterable[LoadPlan], statuses: Iterable[ModelStatus]) -> dict[str, Holding]:
    """What every model with a plan holds now."""
    pids = {status.model: status.pid for status in statuses}
    deadline = time.monotonic() + _TIME_S
    return {plan.model: holding_of(plan.path, pids.get(plan.model), deadline) for plan in plans}


def holding_of(path: str, pid: int | None, deadline: float, proc: Path = Path("/proc")) -> Holding:
    """What a model of a file holds, by its runner's process, if it has one. Never raises."""
    runner = parse_meminfo(text.read(proc / str(pid) / "status") or "") if pid is not None else {}
    file_bytes, cached_share = _cached(path, deadline)
    cached_bytes = None if file_bytes is None or cached_share is None else round(cached_share * file_bytes)
    hot_bytes = mapped_bytes(pid, path, deadline, proc) if pid is not None else 0
    return Holding(
        anon_bytes=runner.get("RssAnon"),
        swapped_bytes=runner.get("VmSwap"),
        locked_bytes=runner.get("VmLck"),
        hot_bytes=hot_bytes,
        cold_bytes=None if cached_bytes is None or hot_bytes is None else max(0, cached_bytes - hot_bytes),
        file_bytes=file_bytes,
        cached_share=cached_share,
    )


def _cached(path: str, deadline: float) -> tuple[int | None, float | None]:
    """The size of a file, and which share of it the page cache holds."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None, None
    try:
        found = residency(file, deadline)
        return os.fstat(file).st_size, None if found is None else found.cached_share
    except OSError:
        return None, None
    finally:
        os.close(file)
