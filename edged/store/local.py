"""Files on this machine: copied in, so that what is served never changes under the daemon."""

import stat
from io import FileIO

from edged.errors import PullError
from edged.store.incoming import Incoming
from edged.store.job import Job, LocalFile

_CHUNK_BYTES = 1 << 20


def fetch(source: LocalFile, job: Job) -> None:
    """Copy the file. Raises PullError when it is missing, no plain file, or cannot be read."""
    (artifact,) = job.wanted.files
    size_bytes = plain_size_bytes(source)
    job.work.part(artifact.name).unlink(missing_ok=True)  # copying starts anew; its room counts as free
    job.check_size(size_bytes)
    label = f"{job.wanted.id}: copying {source.path.name}"
    with _open(source) as stream, Incoming(job.work.part(artifact.name), artifact) as incoming:
        while chunk := _read(source, stream):
            incoming.write(chunk)
            job.progress.advance(label, incoming.received_bytes, size_bytes)
        incoming.deliver(job.work.file(artifact.name))


def plain_size_bytes(source: LocalFile) -> int:
    """The size of the file. Raises PullError when it is missing or no plain file."""
    try:
        facts = source.path.stat()
    except (OSError, ValueError) as error:
        raise PullError(f"{source.path}: {getattr(error, 'strerror', error)}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise PullError(f"{source.path}: not a plain file")
    return facts.st_size


def _open(source: LocalFile) -> FileIO:
    try:
        return source.path.open("rb", buffering=0)
    except OSError as error:
        raise PullError(f"{source.path}: {error.strerror}") from error


def _read(source: LocalFile, stream: FileIO) -> bytes:
    try:
        return stream.read(_CHUNK_BYTES)
    except OSError as error:
        raise PullError(f"{source.path}: cannot be read: {error.strerror}") from error
