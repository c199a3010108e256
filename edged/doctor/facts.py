"""What the doctor looks at, and what it says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edged.hw.mounts import Mount
from edged.hw.snapshot import FileFacts, HardwareSnapshot, StorageFacts
from edged.policy.types import LoadPlan

Level = Literal["problem", "hint", "unknown"]
ReceiptState = Literal["ok", "changed", "none"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that slows cold starts (`problem`), might (`hint`), or could not be looked at (`unknown`)."""

    check: str
    level: Level
    what: str
    cost: str  # measured, or computed from what was measured; says so where it is not known
    cost_s: float | None = None  # of one cold start
    fix: tuple[str, ...] = ()  # commands, in order


class InstalledModel(msgspec.Struct, frozen=True, kw_only=True):
    """One configured model whose file is there."""

    plan: LoadPlan
    file: FileFacts | None
    receipt: ReceiptState
    origin: str | None = None  # what it was pulled as: a name, a path or an address

    @property
    def wanted_bytes(self) -> int:
        """What a cold start reads ahead of the file."""
        return sum(piece.length for piece in self.plan.prefetch)

    @property
    def size_bytes(self) -> int:
        """The whole file, or as much as is known of it."""
        known = self.file.size_bytes if self.file is not None else None
        return self.wanted_bytes if known is None else known


class SwapDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One line of /proc/swaps, and what it lies on."""

    name: str
    kind: str  # in the words of StorageFacts
    used_bytes: int
    bytes_per_s: float | None = None


class LimitAt(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroup memory limit that leaves the least room."""

    folder: Path
    version: int
    limit_bytes: int
    used_bytes: int | None


class MemLock(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be locked into memory: None for no limit."""

    limit_bytes: int | None
    owner: str  # edged.service, or this shell


class Frequency(msgspec.Struct, frozen=True, kw_only=True):
    """How the clock of the CPU is chosen; None where the kernel does not choose it."""

    governor: str | None = None
    driver: str | None = None
    available: tuple[str, ...] = ()


class LlamaBuild(msgspec.Struct, frozen=True, kw_only=True):
    """llama-cpp-python as it is installed."""

    version: str
    features: frozenset[str]  # of llama_print_system_info, those that are on


class OtherDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A mounted disk that holds no model."""

    point: str
    device: str
    kind: str
    free_bytes: int
    bytes_per_s: float | None = None  # where loads or the probe have measured it


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What clients are shown, and what edged itself says to it."""

    certificate: str
    key: str
    hidden: bool = False  # from this user; nothing else is known then
    wrong: str | None = None  # why edged cannot use the files
    fault: str | None = None  # why clients refuse it
    valid_until_s: float | None = None  # since 1970
    exposed: bool = False  # everybody can read the key


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at once. Unknown is None.

    `unlimited` are the plans as they would be without the cgroup's memory limit; `mounts` is keyed as
    `snapshot.storage` by its path.
    """

    snapshot: HardwareSnapshot
    models: tuple[InstalledModel, ...] = ()
    problems: Mapping[str, str] = {}
    unlimited: tuple[LoadPlan, ...] = ()
    lazy_available: bool = True
    prefetch: bool = True
    reserve_bytes: int = 0
    mounts: Mapping[str, Mount] = {}
    other_disks: tuple[OtherDisk, ...] = ()
    swaps: tuple[SwapDevice, ...] | None = ()
    limit: LimitAt | None = None
    memlock: MemLock | None = None
    frequency: Frequency = Frequency()
    llama: LlamaBuild | None = None
    certificate: CertificateFacts | None = None
    now_s: float = 0.0  # since 1970

    def models_on(self, storage: StorageFacts) -> tuple[InstalledModel, ...]:
        """The models whose files one storage holds."""
        return tuple(m for m in self.models if m.file is not None and m.file.storage_path == storage.path)

    def storage_of(self, model: InstalledModel) -> StorageFacts | None:
        """The storage that holds a model's file."""
        return self.snapshot.storage_of(model.plan.path)
