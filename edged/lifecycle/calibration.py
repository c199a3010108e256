"""What loads were predicted to take and what they took, kept in the state directory between starts.

One JSON file, written atomically and bounded in size. It only makes predictions better: a damaged file is
replaced, and a disk that takes no more writes is logged, not raised.
"""

import logging
import math
import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec

from edged.policy.types import LoadPlan, LoadTimes, Measured, RepackGain

log = logging.getLogger(__name__)

MAX_LOADS = 64
MAX_DEVICES = 16
MAX_REPACK_GAINS = 32
MAX_FILE_BYTES = 1 << 20
# Below these a rate is noise: a burst from a drive's cache, or the time until the first byte.
MIN_RATE_BYTES = 8 << 20
MIN_RATE_S = 0.2
# Imports take at least 50 ms: a runner that spent less in them had been started ahead of its load.
_LEAST_IMPORT_S = 0.02
_RISE_SHARE = 0.2
_FALL_SHARE = 0.2
# A runner that has so little of its base in memory has been swapped out.
_LEAST_BASE_SHARE = 0.7

_Duration = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=1e12)]


class Load(msgspec.Struct, kw_only=True):
    """One model file on one device with one strategy: predicted beside measured, and the parts measured."""

    path: str
    size_bytes: int
    device: str | None
    strategy: str
    predicted_ready_s: _Duration | None = None
    ready_s: _Duration | None = None
    predicted_first_answer_s: _Duration | None = None
    first_answer_s: _Duration | None = None
    load_s: _Duration | None = None
    load_repacked_s: _Duration | None = None
    context_s: _Duration | None = None
    warmup_s: _Duration | None = None
    predicted_anon_bytes: _Size | None = None  # when it was ready
    anon_bytes: _Size | None = None
    base_bytes: _Size | None = None


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A load that became ready. `timings_s` are the runner's laps; `uncached_bytes` what it had to read, and
    `reading_s` how long that took, if it was done; `anon_bytes` its anonymous memory then."""

    size_bytes: int
    device: str | None
    ready_s: float
    timings_s: dict[str, float]
    uncached_bytes: int | None = None
    anon_bytes: int | None = None
    reading_s: float | None = None


class _Kept(msgspec.Struct, kw_only=True):
    version: int = 1
    spawn_s: _Duration | None = None
    bytes_per_s: dict[str, _Rate] = {}
    loads: list[Load] = []  # the latest last
    repack_gains: dict[str, RepackGain] = {}  # likewise


class Calibration:
    """The kept measurements. Not thread-safe: its owner calls it from one thread or under a lock."""

    def __init__(self, path: Path, kept: _Kept | None = None) -> None:
        self._path = path
        self._kept = kept or _Kept()

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """What earlier starts kept; nothing when there is no such file or it cannot be used."""
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            log.warning("%s cannot be read, predictions start anew: %s", path, error)
            return cls(path)
        try:
            if len(raw) > MAX_FILE_BYTES:
                raise msgspec.ValidationError(f"larger than {MAX_FILE_BYTES} bytes")
            kept = msgspec.json.decode(raw, type=_Kept)
            if kept.version != 1:
                raise msgspec.ValidationError(f"version {kept.version} instead of 1")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s is damaged and will be replaced, predictions start anew: %s", path, error)
            return cls(path)
        return cls(path, kept)

    def record(self, plan: LoadPlan, measurement: Measurement) -> None:
        """Keep what a load took beside what was predicted for it."""
        load = self._take(plan, measurement.size_bytes, measurement.device)
        laps = measurement.timings_s
        load.predicted_ready_s = _plausible(plan.predicted.ready_s)
        load.ready_s = _plausible(measurement.ready_s)
        if plan.repack:
            load.load_repacked_s = _blended(load.load_repacked_s, laps.get("vocabulary_s"))
        else:
            load.load_s = _blended(load.load_s, laps.get("vocabulary_s"))
        load.context_s = _blended(load.context_s, laps.get("context_s"))
        load.warmup_s = _blended(load.warmup_s, laps.get("warmup_s"))
        load.predicted_anon_bytes, load.anon_bytes = plan.predicted.loaded_anon_bytes, measurement.anon_bytes
        load.base_bytes = _base_bytes(load.base_bytes, plan, measurement.anon_bytes)
        self._kept.loads.append(load)
        del self._kept.loads[:-MAX_LOADS]
        self._record_spawn(measurement.ready_s, laps)
        self._record_rate(measurement)

    def record_first_answer(self, plan: LoadPlan, first_answer_s: float) -> None:
        """Add the first answer to the latest load of a model."""
        for load in reversed(self._kept.loads):
            if (load.path, load.strategy) == (plan.path, plan.strategy):
                load.predicted_first_answer_s = _plausible(plan.predicted.first_answer_s)
                load.first_answer_s = _plausible(first_answer_s)
                return

    def record_repack_gain(self, key: str, gain: RepackGain) -> None:
        """Keep what repacking gains, by `policy.repacking.key_of`."""
        kept = self._kept.repack_gains
        kept.pop(key, None)
        kept[key] = gain
        for oldest in list(kept)[:-MAX_REPACK_GAINS]:
            del kept[oldest]

    def encoded(self) -> bytes:
        """What `store` writes: taken under the owner's lock, written without it."""
        return msgspec.json.format(msgspec.json.encode(self._kept))

    def store(self, raw: bytes) -> None:
        """Write what `encoded` gave, in one step: after a power cut there is the old file or the new one.

        Slow where the storage is busy. Never two at a time.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        except OSError as error:
            log.warning(
                "%s cannot be written, the next start predicts as this one did: %s", self._path, error
            )
            return
        try:
            with open(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            log.warning(
                "%s cannot be written, the next start predicts as this one did: %s", self._path, error
            )

    def measured(self) -> Measured:
        """The view that planning takes."""
        models: dict[str, LoadTimes] = {}
        for load in self._kept.loads:
            known = models.get(load.path, LoadTimes())
            models[load.path] = LoadTimes(
                load_s=_first(load.load_s, known.load_s),
                load_repacked_s=_first(load.load_repacked_s, known.load_repacked_s),
                context_s=_first(load.context_s, known.context_s),
                warmup_s=_first(load.warmup_s, known.warmup_s),
                base_bytes=load.base_bytes if load.base_bytes is not None else known.base_bytes,
            )
        return Measured(
            spawn_s=self._kept.spawn_s,
            models=models,
            bytes_per_s=dict(self._kept.bytes_per_s),
            repack_gains=dict(self._kept.repack_gains),
        )

    @property
    def loads(self) -> tuple[Load, ...]:
        """Every load that is kept, the latest last."""
        return tuple(self._kept.loads)

    def _take(self, plan: LoadPlan, size_bytes: int, device: str | None) -> Load:
        """The entry of this file, device and strategy out of the list, or a new one.

        A file of another size is another model: what is known of the old one is dropped.
        """
        loads = self._kept.loads
        loads[:] = [load for load in loads if load.path != plan.path or load.size_bytes == size_bytes]
        key = (plan.path, device, plan.strategy)
        for index, load in enumerate(loads):
            if (load.path, load.device, load.strategy) == key:
                return loads.pop(index)
        return Load(path=plan.path, size_bytes=size_bytes, device=device, strategy=plan.strategy)

    def _record_spawn(self, ready_s: float, laps: dict[str, float]) -> None:
        """What starting a runner and importing took, where this load waited for both."""
        import_s = laps.get("import_s", 0.0)
        if import_s >= _LEAST_IMPORT_S:
            after_spawn_s = sum(laps.values()) - import_s
            self._kept.spawn_s = _blended(self._kept.spawn_s, ready_s - after_spawn_s)

    def _record_rate(self, measurement: Measurement) -> None:
        """The storage rate, where the reader was done when the model was ready, by the time that it read.

        Readers take turns, so it had the storage to itself. What was read too fast to be timed shows that the
        storage is at least so fast: a lower rate that is remembered is dropped. On fast storage nothing else
        would ever replace it.
        """
        n_bytes, read_s, device = measurement.uncached_bytes, measurement.reading_s, measurement.device
        if device is None or n_bytes is None or n_bytes < MIN_RATE_BYTES:
            return
        if read_s is None or not 0 < read_s < math.inf:  # NaN included
            return
        if read_s >= MIN_RATE_S:
            self._kept.bytes_per_s.pop(device, None)
            self._kept.bytes_per_s[device] = n_bytes / read_s
        elif self._kept.bytes_per_s.get(device, math.inf) < n_bytes / read_s:
            del self._kept.bytes_per_s[device]
        for oldest in list(self._kept.bytes_per_s)[:-MAX_DEVICES]:
            del self._kept.bytes_per_s[oldest]


def _blended(known_s: float | None, measured_s: float | None) -> float | None:
    """Falls at once, rises slowly: what disturbs a measurement (cold storage, other work) only adds to it."""
    if measured_s is None or _plausible(measured_s) is None:
        return known_s
    if known_s is None or measured_s <= known_s:
        return measured_s
    return known_s + _RISE_SHARE * (measured_s - known_s)


def _base_bytes(known_bytes: int | None, plan: LoadPlan, anon_bytes: int | None) -> int | None:
    """The fitted part of a prediction, corrected by what it was off by: the rest of it is exact.

    Rises at once, falls slowly, since too little memory is worse than some unused. Pinned pages may be
    copies, which count as anonymous memory: such a load tells nothing.
    """
    predicted = plan.predicted
    if anon_bytes is None or plan.mlock_bytes:
        return known_bytes
    found_bytes = predicted.base_bytes + anon_bytes - predicted.loaded_anon_bytes
    if found_bytes < _LEAST_BASE_SHARE * predicted.base_bytes or not found_bytes:
        return known_bytes
    if known_bytes is None or found_bytes >= known_bytes:
        return found_bytes
    return known_bytes - round(_FALL_SHARE * (known_bytes - found_bytes))


def _plausible(duration_s: float | None) -> float | None:
    """Only what the file may hold: anything else would make all of it count as damaged."""
    return duration_s if duration_s is not None and 0 <= duration_s <= 1e6 else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
