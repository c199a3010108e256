"""One measurement of the storage in a process of its own: the probe first, then what the loader's reads get.

Prints one JSON object. Usage: `python -m tests.bench.probe_once MODEL_FILE LOADER_SECONDS USE_LIMIT`, where
USE_LIMIT 0 hides the control groups from the probe.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edged.gguf.header import read_header
from edged.gguf.layout import prefetch_ranges
from edged.hw.residency import Run
from edged.hw.snapshot import StorageFacts
from edged.hw.storage import storage_facts

_DEADLINE_S = 0.45  # what `hw.probe` leaves for the storage
_CHUNK_BYTES = 1 << 20  # what the loader reads at a time


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """`read_bytes` is what the storage delivered during the probe, by the kernel's books."""

    bytes_per_s: float | None
    random_latency_s: float | None
    took_s: float
    read_bytes: int
    loader_bytes_per_s: float


def main(path: Path, loader_s: float, use_limit: bool) -> Probed:
    """Read the header as planning does, probe by what a load wants, then read on as the loader does."""
    header = read_header(path)
    spans = prefetch_ranges(header, "embed" if header.is_embedding_model else "generate")
    wanted = [Run(span.offset, span.length) for span in spans]
    before, start = _read_bytes(), time.monotonic()
    storage = _probe(path, wanted, use_limit)
    took_s, read_bytes = time.monotonic() - start, _read_bytes() - before
    return Probed(
        bytes_per_s=storage.sequential_bytes_per_s,
        random_latency_s=storage.random_latency_s,
        took_s=took_s,
        read_bytes=read_bytes,
        loader_bytes_per_s=_loader_rate(path, wanted, loader_s),
    )


def _probe(path: Path, wanted: Sequence[Run], use_limit: bool) -> StorageFacts:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "self").mkdir()
        Path(folder, "self", "mountinfo").write_text(Path("/proc/self/mountinfo").read_text())
        proc = Path("/proc" if use_limit else folder)
        (storage,), _ = storage_facts([str(path)], time.monotonic() + _DEADLINE_S, {str(path): wanted}, proc)
    return storage


def _loader_rate(path: Path, wanted: Sequence[Run], seconds: float) -> float:
    """What sequential reads of the bytes that are left get for a while."""
    buffer = bytearray(_CHUNK_BYTES)
    before, start = _read_bytes(), time.monotonic()
    with path.open("rb", buffering=0) as file:
        for run in wanted:
            for offset in range(run.offset, run.offset + run.length, _CHUNK_BYTES):
                os.preadv(file.fileno(), [buffer], offset)
                if time.monotonic() - start > seconds:
                    return (_read_bytes() - before) / (time.monotonic() - start)
    return (_read_bytes() - before) / (time.monotonic() - start)


def _read_bytes() -> int:
    """What this process made the storage deliver: proc_pid_io(5)."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    raise OSError("/proc/self/io has no read_bytes")


if __name__ == "__main__":
    probed = main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1")
    print(msgspec.json.encode(probed).decode())
