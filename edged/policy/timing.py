"""How long a load will take. What was measured before is used; the rest are defaults of a typical machine.

The reader starts together with the runner, so reading overlaps with the interpreter's start, the vocabulary
and repacking: `ready_s = max(spawn + load + context, uncached_bytes / rate) + warm-up`. Models that load at
the same time take turns at the storage, the shortest first, and share the cores.
"""

from collections.abc import Sequence

import msgspec

from edged.gguf.layout import prefetch_ranges, random_access_ranges
from edged.hw.snapshot import HardwareSnapshot
from edged.policy.rate import rate_of
from edged.policy.settings import Level
from edged.policy.types import Kind, LoadTimes, Measured, ModelInput, PlanSettings, Strategy

# Measured on a quiet 2-core x86-64 machine with a warm page cache; a Raspberry Pi takes some times longer on
# its first start, which is then measured.
SPAWN_S = 0.13  # exec to `import llama_cpp` done
DAEMON_S = 0.07  # more, where the daemon's own imports want the same core
VOCABULARY_S_PER_TOKEN = 1.4e-6
REPACK_BYTES_PER_S = 1e9
CONTEXT_S = 0.005
CACHE_BYTES_PER_S = 2.4e9  # filling the KV cache with zeros
BATCH_S = 0.005  # one short batch: a fixed part, and a pass over the weights
BATCH_BYTES_PER_S = 4e9
READAHEAD_BYTES = 128 << 10  # Linux's default
# What one fault reads at a time, about: SmolLM2's 98 MB take 8 to 10 s at 120 a second.
FAULT_BYTES = 96 << 10
SLOW_FAULTS_SHARE = 0.5  # of the sequential rate
CHUNK_BYTES = 1 << 20  # what a reader has asked for before it lets others read


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """Who else loads at the same time, and the cores for all of them; None where unknown."""

    n_loading: int = 1
    cores: int | None = None


ALONE = Company()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a load has to read from storage, and how fast that goes. Rates are None where unknown."""

    wanted_bytes: int
    uncached_bytes: int
    before_bytes: int = 0  # what others read from the same storage before it is this one's turn
    others_follow: bool = False  # others read from it after this one
    dragged_bytes: int = 0  # what is not wanted, but readahead fetches around faults
    cached_is_known: bool
    bytes_per_s: float | None  # one after the other
    fault_bytes_per_s: float | None  # page by page as they are touched
    rate_reason: str = ""  # where the probe and earlier loads disagree

    @property
    def sequential_s(self) -> float | None:
        """How long it takes until everything is read, one after the other."""
        n_bytes = self.uncached_bytes + (self.before_bytes if self.uncached_bytes else 0)
        return _duration_s(n_bytes, self.bytes_per_s)

    @property
    def faulting_s(self) -> float | None:
        """How long touching everything takes without a reader."""
        if self.uncached_bytes == 0:
            return 0.0
        n_bytes = self.uncached_bytes + self.before_bytes + self.dragged_bytes  # others read all the same
        return _duration_s(n_bytes, self.fault_bytes_per_s)

    @property
    def faults_are_slow(self) -> bool:
        """Whether touching pages before the reader has been there costs more than waiting for it.

        A pass that overtakes the reader faults for about half of what is left; a turning disk gives 100 MB/s
        in order and a tenth of that by faults.
        """
        if not self.bytes_per_s or not self.fault_bytes_per_s:
            return False
        return self.fault_bytes_per_s < SLOW_FAULTS_SHARE * self.bytes_per_s

    @property
    def row_wait_s(self) -> float:
        """How long rows that a batch picks here and there wait for another model's reader, once."""
        picks_rows = self.dragged_bytes > 0 and self.others_follow
        return (_duration_s(CHUNK_BYTES, self.bytes_per_s) or 0.0) if picks_rows else 0.0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted seconds after the start of a load; None where the storage rate is unknown."""

    ready_s: float | None
    first_answer_s: float | None
    started_s: float = 0.0  # with nothing to read
    batch_s: float = 0.0


def reading_of(
    snapshot: HardwareSnapshot, model: ModelInput, kind: Kind, settings: PlanSettings, measured: Measured
) -> Reading:
    """The reading that a load of this model does on this machine."""
    spans = prefetch_ranges(model.header, kind)
    # Without the lazy map llama.cpp reads the whole file, whatever is wanted of it.
    wanted = sum(span.length for span in spans) if settings.lazy_available else model.header.size_bytes
    file = snapshot.file(model.path)
    cached_share = file.cached_share if file is not None else None
    storage = snapshot.storage_of(model.path)
    believed = rate_of(storage, measured)
    rate = believed.bytes_per_s
    latency_s = (storage.random_latency_s if storage is not None else None) or 0.0
    window = (storage.readahead_bytes if storage is not None else None) or READAHEAD_BYTES
    fault = min(window, FAULT_BYTES)
    # What is cached was wanted before, by an earlier load or by the probe: the rest of the file seldom is.
    cached = (cached_share or 0.0) * model.header.size_bytes
    # The map is told of rows picked here and there only when the model is loaded.
    tables = random_access_ranges(model.header, kind)
    return Reading(
        wanted_bytes=wanted,
        uncached_bytes=max(0, wanted - round(cached)),
        dragged_bytes=sum(min(span.length, window) for span in tables),
        cached_is_known=cached_share is not None,
        bytes_per_s=rate,
        rate_reason=believed.reason,
        fault_bytes_per_s=fault / (latency_s + fault / rate) if rate else None,
    )


def timing_of(
    model: ModelInput,
    strategy: Strategy,
    level: Level,
    reading: Reading,
    settings: PlanSettings,
    measured: Measured,
    company: Company = ALONE,
) -> Timing:
    """When the model would be ready, and when a request that came at the very start would be answered."""
    times = measured.models.get(model.path, LoadTimes())
    batch_s = _batch_s(times, level) + reading.row_wait_s
    started_s = _started_s(model, level, times, measured.spawn_s, company)
    reads_ahead = settings.loading.prefetch or not settings.lazy_available
    if not reads_ahead or strategy == "lazy":
        complete_s = _sum(started_s, reading.faulting_s)
    elif level.settings.repack and reading.faults_are_slow:  # the copying waits for the reader
        complete_s = _sum(started_s, reading.sequential_s)
    else:
        complete_s = _later(started_s, reading.sequential_s)
    if strategy in ("warm", "locked"):
        ready_s, first_answer_s = _sum(complete_s, batch_s), _sum(complete_s, 2 * batch_s)
    elif not settings.lazy_available or level.settings.repack:
        ready_s, first_answer_s = complete_s, _sum(complete_s, batch_s)
    else:
        ready_s, first_answer_s = started_s, _sum(complete_s, batch_s)
    return Timing(ready_s=ready_s, first_answer_s=first_answer_s, started_s=started_s, batch_s=batch_s)


def in_turn(readings: Sequence[Reading]) -> list[Reading]:
    """The same readings, taking turns at one storage: the shortest first, of equal ones the first named."""
    order = sorted(range(len(readings)), key=lambda index: (readings[index].uncached_bytes, index))
    found = list(readings)
    before_bytes = 0
    for place, index in enumerate(order):
        found[index] = msgspec.structs.replace(
            readings[index], before_bytes=before_bytes, others_follow=place < len(order) - 1
        )
        before_bytes += readings[index].uncached_bytes
    return found


def _started_s(
    model: ModelInput, level: Level, times: LoadTimes, spawn_s: float | None, company: Company
) -> float:
    """Interpreter, vocabulary, repacking and context, with nothing to wait for on storage."""
    cores = company.cores or company.n_loading + 1
    # Beside several the daemon has enough to do, too; one load leaves it the time that it waits for storage.
    n_busy = company.n_loading + (company.n_loading > 1)
    crowding = max(1.0, n_busy / cores)
    if spawn_s is None:
        spawn_s = SPAWN_S * crowding + (DAEMON_S if cores <= company.n_loading else 0.0)
    # A load with repacking that something held up must not be held against repacking alone.
    load_s = times.load_s if times.load_s is not None else times.load_repacked_s
    if load_s is None:
        load_s = model.header.n_vocab * VOCABULARY_S_PER_TOKEN * crowding
    if level.settings.repack:
        repack_s = level.footprint.repack_bytes / REPACK_BYTES_PER_S * crowding
        load_s = times.load_repacked_s if times.load_repacked_s is not None else load_s + repack_s
    context_s = times.context_s
    if context_s is None:
        context_s = (CONTEXT_S + level.footprint.kv_bytes / CACHE_BYTES_PER_S) * crowding
    return spawn_s + load_s + context_s


def _batch_s(times: LoadTimes, level: Level) -> float:
    if times.warmup_s is not None:
        return times.warmup_s
    taken = level.footprint
    return BATCH_S + (taken.weights_bytes + taken.repack_bytes) / BATCH_BYTES_PER_S


def _duration_s(n_bytes: int, bytes_per_s: float | None) -> float | None:
    if n_bytes == 0:
        return 0.0
    return n_bytes / bytes_per_s if bytes_per_s else None


def _later(first_s: float, second_s: float | None) -> float | None:
    return None if second_s is None else max(first_s, second_s)


def _sum(first_s: float | None, second_s: float | None) -> float | None:
    return None if first_s is None or second_s is None else first_s + second_s
