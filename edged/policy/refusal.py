"""Why a model cannot be loaded here, with both numbers and a setting that would change it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from edged.config.schema import Memory, Model
from edged.config.units import format_bytes
from edged.hw.snapshot import HardwareSnapshot
from edged.policy.choice import NO_LAZY_MAP, Prospect, cheapest, prospect_of, ways
from edged.policy.memory import Budget
from edged.policy.types import ModelInput

_FIXABLE = ("strategy", "repack", "n_ubatch", "n_batch", "n_seq_max", "type_k", "type_v", "n_ctx")
_SMALL_CONTEXT = 128
_MIB = 1 << 20


def refusal(snapshot: HardwareSnapshot, prospect: Prospect, budget: Budget, at_start: bool) -> str:
    """Need, have, and what would make it fit."""
    if prospect.conflict is not None:
        return prospect.conflict
    possible = ways(prospect, at_start)
    need_bytes = min(way.need_bytes for way in possible)
    paged = any(way.paged for way in possible)
    what = "of anonymous memory" if paged else "with its file"
    return (
        f"needs at least {format_bytes(need_bytes)} {what}, and there are {budget.text}: "
        f"{_remedy(snapshot, prospect, budget, at_start, need_bytes)}"
    )


def _remedy(
    snapshot: HardwareSnapshot, prospect: Prospect, budget: Budget, at_start: bool, need_bytes: int
) -> str:
    where = f"models.{prospect.model.id}"
    for names, changed in _variants(prospect.model.model):
        if _fits(snapshot, prospect, changed, budget, at_start):
            settings = " and ".join(f"{where}.{name} to {getattr(changed, name)}" for name in names)
            return f"set {settings}, and it fits"
    pinned_bytes = sum(budget.pinned.values())
    if pinned_bytes and need_bytes <= budget.total_bytes + pinned_bytes:
        which = " and ".join(f"models.{model}.pinned" for model in budget.pinned)
        return f"set {which} to false, and it fits"
    lazily = msgspec.structs.replace(prospect.settings, lazy_available=True)
    if not prospect.settings.lazy_available and _fits(
        snapshot, msgspec.structs.replace(prospect, settings=lazily), prospect.model.model, budget, at_start
    ):
        return f"it would fit if it were loaded lazily, but {NO_LAZY_MAP}; or choose a smaller {where}.file"
    memory = _memory_remedy(snapshot.memory.usable_bytes, prospect.settings.memory, need_bytes + pinned_bytes)
    if memory is None:
        return f"no setting makes it fit on this machine: choose a smaller model as {where}.file"
    return f"set {memory}, or choose a smaller {where}.file"


def _memory_remedy(usable_bytes: int | None, memory: Memory, need_bytes: int) -> str | None:
    """The settings for all models that would leave enough, rounded so that they really do."""
    if usable_bytes is not None and need_bytes > usable_bytes:
        return None
    found = []
    if memory.budget != "auto" and memory.budget < need_bytes:
        found.append(f"memory.budget to {-(-need_bytes // _MIB)}MiB or more")
    if usable_bytes is not None and memory.reserve > usable_bytes - need_bytes:
        found.append(f"memory.reserve to {(usable_bytes - need_bytes) // _MIB}MiB or less")
    return " and ".join(found)


def _variants(model: Model) -> Iterator[tuple[tuple[str, ...], Model]]:
    """The configuration with one fixed setting given up, then all of them, then with a shorter context."""
    fixed = tuple(name for name in _FIXABLE if getattr(model, name) not in ("auto", "on_demand"))
    for name in fixed:
        yield (name,), _freed(model, (name,))
    if len(fixed) > 1:
        yield fixed, _freed(model, fixed)
    if model.n_ctx_min > _SMALL_CONTEXT:
        yield (
            (*fixed, "n_ctx_min"),
            msgspec.structs.replace(_freed(model, fixed), n_ctx_min=_SMALL_CONTEXT),
        )


def _freed(model: Model, names: tuple[str, ...]) -> Model:
    changes: dict[str, Any] = dict.fromkeys(names, "auto")
    return msgspec.structs.replace(model, **changes)


def _fits(
    snapshot: HardwareSnapshot, prospect: Prospect, changed: Model, budget: Budget, at_start: bool
) -> bool:
    model = ModelInput(id=prospect.model.id, model=changed, header=prospect.model.header)
    other = prospect_of(snapshot, model, prospect.settings, prospect.measured)
    return other.conflict is None and cheapest(other, at_start, budget.total_bytes) is not None
