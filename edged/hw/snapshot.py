"""The facts about this machine, taken once. Unknown is None, never an invented value."""

import msgspec


class MemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """RAM, limits and swap, in bytes. Limits are the tightest of this process's cgroup ancestors."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    cgroup_version: int | None = None
    cgroup_limit_bytes: int | None = None
    cgroup_used_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    zram_bytes: int | None = None
    psi_some_avg10: float | None = None
    psi_full_avg10: float | None = None

    @property
    def usable_bytes(self) -> int | None:
        """What new processes may take now: the least of what is available and what the limit leaves."""
        room = [self.available_bytes] if self.available_bytes is not None else []
        if self.cgroup_limit_bytes is not None:
            room.append(max(0, self.cgroup_limit_bytes - (self.cgroup_used_bytes or 0)))
        return min(room) if room else None


class StorageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One block device (or network mount) that holds model files. Rates are of uncached reads."""

    path: str
    device: str | None = None
    kind: str = "unknown"  # nvme, ssd, emmc, sd, usb, hdd, virtual, network, memory, unknown
    sequential_bytes_per_s: float | None = None
    limit_bytes_per_s: int | None = None  # what control groups allow this process to read
    random_latency_s: float | None = None
    measured_bytes: int = 0
    readahead_bytes: int | None = None
    free_bytes: int | None = None


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One model file: its size and the share that is in the page cache now (0.0 to 1.0)."""

    path: str
    size_bytes: int | None = None
    cached_share: float | None = None
    storage_path: str | None = None  # the `path` of its StorageFacts


class CpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Cores that this process may use, and what they can do."""

    model_name: str | None = None
    architecture: str | None = None
    logical_cores: int | None = None
    usable_cores: int | None = None  # by affinity and cgroup quota, never below 1
    quota_cores: float | None = None
    performance_cores: int | None = None  # of a big.LITTLE machine; None where all cores are alike
    instruction_sets: tuple[str, ...] = ()
    governor: str | None = None
    psi_some_avg10: float | None = None


class HardwareSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that planning rests on. Storage is keyed by device, files by model file path."""

    memory: MemoryFacts
    cpu: CpuFacts
    storage: tuple[StorageFacts, ...] = ()
    files: tuple[FileFacts, ...] = ()
    probe_s: float = 0.0

    def file(self, path: str) -> FileFacts | None:
        """The facts of one model file, or None when it was not probed."""
        return next((file for file in self.files if file.path == path), None)

    def storage_of(self, path: str) -> StorageFacts | None:
        """The storage that holds a probed model file."""
        file = self.file(path)
        if file is None:
            return None
        return next((storage for storage in self.storage if storage.path == file.storage_path), None)
