"""A file that is being received: hashed while it is written, bounded, and never under its final name."""

import errno
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from edged.errors import PullError
from edged.store.catalog import Artifact

_CHUNK_BYTES = 1 << 20


class WrongContent(PullError):
    """The bytes are not those expected; they were thrown away."""


class Incoming:
    """Writes `part`; `deliver` moves it to its place once size and sha256 are right.

    With `keep_bytes` the first bytes of an existing part are kept (and hashed), the rest is cut off.
    """

    def __init__(self, part: Path, artifact: Artifact, keep_bytes: int = 0) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        self._part = part
        self._artifact = artifact
        self._digest = hashlib.sha256()
        self.received_bytes = 0
        self._file = part.open("r+b" if keep_bytes else "wb", buffering=0)
        if keep_bytes:
            self._resume(keep_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises WrongContent when they are too many, PullError when the disk is full."""
        limit = self._artifact.size_bytes
        if limit is not None and self.received_bytes + len(chunk) > limit:
            self._refuse(f"{self._artifact.name} is larger than the {limit} bytes expected")
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _disk_error(error, self._part) from error
        self._digest.update(chunk)
        self.received_bytes += len(chunk)

    def sync(self) -> int:
        """Make what was received outlive a power cut; returns how many bytes that are."""
        os.fsync(self._file.fileno())
        return self.received_bytes

    def deliver(self, target: Path) -> str:
        """Check, make durable and move to `target`; returns the sha256. Raises WrongContent."""
        wanted, found = self._artifact, self._digest.hexdigest()
        if wanted.size_bytes is not None and self.received_bytes != wanted.size_bytes:
            self._refuse(f"{wanted.name} has {self.received_bytes} bytes, expected {wanted.size_bytes}")
        if wanted.sha256 is not None and found != wanted.sha256:
            self._refuse(f"{wanted.name} has the sha256 {found}, expected {wanted.sha256}")
        self.sync()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part.replace(target)
        return found

    def _resume(self, keep_bytes: int) -> None:
        try:
            while chunk := self._file.read(min(_CHUNK_BYTES, keep_bytes - self.received_bytes)):
                self._digest.update(chunk)
                self.received_bytes += len(chunk)
            self._file.truncate(self.received_bytes)
        except OSError:
            self._file.close()
            raise

    def _refuse(self, reason: str) -> None:
        self._part.unlink(missing_ok=True)
        raise WrongContent(f"{reason}: thrown away")


def _disk_error(error: OSError, path: Path) -> PullError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PullError(f"{path.parent}: the disk is full: free some space and pull again")
    return PullError(f"cannot write {path}: {error.strerror}")
