"""Storage facts: what holds each model file, how fast it delivers uncached bytes, what is cached already."""

import os
import stat
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from edged.hw import text
from edged.hw.deadline import results_until
from edged.hw.device import Device, device_of
from edged.hw.mounts import Mount, mount_of, parse_mountinfo
from edged.hw.rate import random_latency_s, sequential_bytes_per_s
from edged.hw.residency import Residency, Run, residency
from edged.hw.sampling import Samples, sample
from edged.hw.snapshot import FileFacts, StorageFacts
from edged.hw.throttle import read_limits

_LOOKING_SHARE = 0.5  # of the time there is, for stat and mincore; the rest is for timed reads
_MARGIN_S = 0.03  # for the arithmetic after the last read
_PARENTS = 64


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What one path shows without reading it. `size_bytes` is None where there is no such file yet."""

    device: Device
    mount_point: str
    is_folder: bool = False
    size_bytes: int | None = None
    free_bytes: int | None = None
    resident: Residency | None = None
    has_holes: bool = False  # which are read at the speed of memory


def storage_facts(
    paths: Sequence[str],
    deadline: float,
    wanted: Mapping[str, Sequence[Run]] | None = None,
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
) -> tuple[tuple[StorageFacts, ...], tuple[FileFacts, ...]]:
    """The facts of model files and of what holds them, until `deadline` (of time.monotonic()).

    Each device is measured once, by the file with the most uncached bytes; of a file in `wanted` only those
    count and are read. A path that does not exist yet counts for the storage it would lie on; a folder as
    well, and it has no FileFacts. Never raises.
    """
    start = time.monotonic()
    mounts = parse_mountinfo(text.read(proc / "self" / "mountinfo") or "")
    looking_until = start + (deadline - start) * _LOOKING_SHARE
    asked = dict.fromkeys(paths)
    looked = results_until(
        looking_until, {path: partial(_look, Path(path), mounts, sys, looking_until) for path in asked}
    )
    by_device: dict[str, dict[str, Looked]] = {}
    for path in (path for path in asked if path in looked):
        by_device.setdefault(looked[path].device.key, {})[path] = looked[path]
    samples = _measure(by_device, wanted or {}, deadline)
    storage = tuple(
        _limited(_storage(group, samples.get(key)), group, proc) for key, group in by_device.items()
    )
    path_of = {key: facts.path for key, facts in zip(by_device, storage, strict=True)}
    files = tuple(
        _file(path, looked.get(path), samples, path_of)
        for path in asked
        if path not in looked or not looked[path].is_folder
    )
    return storage, files


def _look(path: Path, mounts: Sequence[Mount], sys: Path, deadline: float) -> Looked:
    """Look at one path, or at the nearest folder above one that does not exist. Raises OSError."""
    place = _existing(path)
    filesystem = os.statvfs(place)
    mount = mount_of(str(place.resolve()), mounts)
    status = place.stat()
    found = Looked(
        device=device_of(place, mounts, sys),
        mount_point=mount.point if mount else str(place if place.is_dir() else place.parent),
        is_folder=place == path and stat.S_ISDIR(status.st_mode),
        free_bytes=filesystem.f_bavail * filesystem.f_frsize,
    )
    if place != path or not stat.S_ISREG(status.st_mode):
        return found
    found = msgspec.structs.replace(found, size_bytes=status.st_size)
    try:
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it may not be read, and that is all that is known
        return found
    try:
        return msgspec.structs.replace(
            found,
            has_holes=status.st_size > 0 and os.lseek(file, 0, os.SEEK_HOLE) < status.st_size,
            resident=residency(file, deadline),
        )
    except OSError:
        return found
    finally:
        os.close(file)


def _existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists. Raises OSError."""
    if "\0" in str(path):
        raise OSError(f"{str(path)!r} cannot be the name of a file")
    for candidate in (path, *path.absolute().parents[:_PARENTS]):
        try:
            candidate.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return candidate
    raise FileNotFoundError(str(path))


def _measure(
    by_device: dict[str, dict[str, Looked]], wanted: Mapping[str, Sequence[Run]], deadline: float
) -> dict[str, tuple[str, Samples]]:
    """Measure each device through one of its files; the samples there are when the time is up."""
    chosen = {key: path for key, group in by_device.items() if (path := _choose(group, wanted)) is not None}
    samples = {key: (path, Samples()) for key, path in chosen.items()}
    budget_s = deadline - _MARGIN_S - time.monotonic()
    if budget_s > 0:
        calls = {}
        for key, (path, into) in samples.items():
            runs = _to_read(by_device[key][path].resident, wanted.get(path))
            calls[key] = partial(sample, Path(path), runs, budget_s, into)
        results_until(deadline - _MARGIN_S, calls)
    return samples


def _to_read(resident: Residency | None, wanted: Sequence[Run] | None) -> list[Run]:
    """What is not cached and wanted; None wants everything."""
    uncached = resident.uncached if resident else ()
    if wanted is None:
        return list(uncached)
    shared = []
    for piece in wanted:
        for run in uncached:
            begin = max(piece.offset, run.offset)
            end = min(piece.offset + piece.length, run.offset + run.length)
            if begin < end:
                shared.append(Run(begin, end - begin))
    return shared


def _choose(group: dict[str, Looked], wanted: Mapping[str, Sequence[Run]]) -> str | None:
    """The file to measure by: the one with the most uncached bytes, of equal ones the largest."""

    def worth(path: str) -> tuple[int, int]:
        runs = _to_read(group[path].resident, wanted.get(path))
        return sum(run.length for run in runs), group[path].size_bytes or 0

    files = [
        path
        for path, looked in group.items()
        if looked.size_bytes and not looked.has_holes and looked.device.kind != "memory"
    ]
    return max(files, key=worth, default=None)


def _storage(group: dict[str, Looked], measured: tuple[str, Samples] | None) -> StorageFacts:
    looked = next(iter(group.values()))
    device = looked.device
    samples = measured[1] if measured else Samples()
    reads, latency_s = list(samples.reads), random_latency_s(list(samples.latencies))
    return StorageFacts(
        path=looked.mount_point,
        device=device.name,
        kind=device.kind,
        sequential_bytes_per_s=sequential_bytes_per_s(
            reads, _request_overhead_s(device, latency_s, samples.bypassed_cache)
        ),
        random_latency_s=latency_s,
        measured_bytes=samples.n_bytes,
        readahead_bytes=device.readahead_bytes,
        free_bytes=looked.free_bytes,
    )


def _limited(facts: StorageFacts, group: dict[str, Looked], proc: Path) -> StorageFacts:
    """The facts with what control groups allow: a limit may let more through than the reads could use up.

    It is only a bound: what was measured below it stays as it was measured.
    """
    number, rate = next(iter(group.values())).device.number, facts.sequential_bytes_per_s
    if not number:
        return facts
    limit, reads_per_s = read_limits(number, proc)
    latency_s = facts.random_latency_s
    return msgspec.structs.replace(
        facts,
        sequential_bytes_per_s=min(rate, limit) if rate is not None and limit is not None else rate,
        limit_bytes_per_s=limit,
        random_latency_s=max(latency_s or 0.0, 1 / reads_per_s) if reads_per_s else latency_s,
    )


def _request_overhead_s(device: Device, latency_s: float | None, direct: bool) -> float:
    """The waiting in a sequential read that readahead would have hidden.

    None on disks that turn: there a random read waits for the head, which a sequential one does not.
    """
    if latency_s is None or device.is_rotational:
        return 0.0
    requests = 1 if direct or not device.request_bytes else -(-(1 << 20) // device.request_bytes)
    return latency_s * requests


def _file(
    path: str,
    looked: Looked | None,
    samples: dict[str, tuple[str, Samples]],
    path_of: dict[str, str],
) -> FileFacts:
    if looked is None:
        return FileFacts(path=path)
    share = looked.resident.cached_share if looked.resident else None
    measured, into = samples.get(looked.device.key, (None, Samples()))
    if measured == path and share is not None and looked.size_bytes and not into.bypassed_cache:
        share = min(1.0, share + into.n_bytes / looked.size_bytes)  # what was measured is cached now
    return FileFacts(
        path=path,
        size_bytes=looked.size_bytes,
        cached_share=share,
        storage_path=path_of[looked.device.key],
    )
