"""What edged tells of its models over HTTP: their statuses, with what was asked for beside them."""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from edged.lifecycle.holding import Holding
from edged.lifecycle.status import ModelStatus
from edged.policy.account import Account

_Told = TypeVar("_Told", bound=ModelStatus)


class Listed(ModelStatus, frozen=True, kw_only=True):
    """A model of a list. `memory` is there when it was asked for, and null for a model without a plan."""

    memory: Holding | UnsetType | None = UNSET


class Accounted(msgspec.Struct, frozen=True, kw_only=True):
    """What admission counts with, by plans and by what loads have measured."""

    budget_bytes: int
    anonymous_bytes: int
    file_hot_bytes: int
    file_cold_bytes: int
    in_flight_bytes: int
    spare_bytes: int


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All models; the account where memory was asked for."""

    models: tuple[Listed, ...]
    account: Accounted | UnsetType = UNSET


class WarmedUp(ModelStatus, frozen=True, kw_only=True):
    """A model after a warm-up, and how long its batch took."""

    warmup_s: float


class CooledDown(ModelStatus, frozen=True, kw_only=True):
    """A model that was asked to give memory back, and what it gave."""

    freed_bytes: int


def told(status: ModelStatus, kind: type[_Told], **more: Any) -> _Told:
    """A status with more beside it."""
    return kind(**msgspec.structs.asdict(status), **more)


def accounted(account: Account) -> Accounted:
    """The account by kind of memory."""
    kinds = {f"{kind}_bytes": n_bytes for kind, n_bytes in account.by_kind().items()}
    return Accounted(budget_bytes=account.budget_bytes, **kinds)
