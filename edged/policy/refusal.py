"""Why a model cannot be loaded here, with both numbers and a setting that would change it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from edged.config.schema import Model
from edged.config.units import format_bytes
from edged.hw.snapshot import HardwareSnapshot
from edged.policy.choice import NO_LAZY_MAP, Prospect, cheapest, prospect_of, ways
from edged.policy.memory import UNLIMITED_BYTES, Budget
from edged.policy.types import ModelInput

_FIXABLE = ("strategy", "repack", "n_ubatch", "n_batch", "n_seq_max", "type_k", "type_v", "n_ctx")
_SMALL_CONTEXT = 128


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
    lazily = msgspec.structs.replace(prospect.settings, lazy_available=True)
    if not prospect.settings.lazy_available and _fits(
        snapshot, msgspec.structs.replace(prospect, settings=lazily), prospect.model.model, budget, at_start
    ):
        return f"it would fit if it were loaded lazily, but {NO_LAZY_MAP}; or choose a smaller {where}.file"
    usable = snapshot.memory.usable_bytes
    if budget.setting == "memory.budget":
        return f"set memory.budget to {format_bytes(need_bytes)} or more, or choose a smaller {where}.file"
    if usable is not None and need_bytes <= usable:
        return (
            f"set memory.reserve to {format_bytes(usable - need_bytes)} or less, "
            f"or choose a smaller {where}.file"
        )
    return f"no setting makes it fit on this machine: choose a smaller model or quantization as {where}.file"


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
    limit_bytes = min(budget.total_bytes, UNLIMITED_BYTES)
    return other.conflict is None and cheapest(other, at_start, limit_bytes) is not None
