"""Receipts: what a pulled file was when it was pulled, so that damage shows before wrong numbers do.

A file that is partly zero or has one bit flipped loads and serves nonsense; only its hash shows that.
The daemon asks `changed_since_pull` before each load (a stat), `edged models --verify` hashes.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from edged.store import owner

FOLDER = ".receipts"
_CHUNK_BYTES = 1 << 20

Tick = Callable[[int], None]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A pulled file: `origin` is what was asked for (catalog id, URL, path), `source` is who delivered it."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    origin: str
    source: str
    weights: str | None = None
    weights_reason: str | None = None  # where formats were compared


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What hashing a file again showed. `changed` also means unreadable: `reason` says which."""

    status: Literal["ok", "changed", "no_receipt", "missing"]
    reason: str
    sha256: str | None = None


def read(path: Path) -> Receipt | None:
    """The receipt of a model file; None when there is none or it cannot be read as one."""
    try:
        return msgspec.json.decode(_receipt_of(path).read_bytes(), type=Receipt)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, receipt: Receipt) -> None:
    """Store the receipt of a model file durably: after a power cut it is there whole or not at all."""
    target = _receipt_of(path)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    owner.give(target.parent, path.parent)
    text = msgspec.json.format(msgspec.json.encode(receipt)) + b"\n"
    part = target.with_name(f"{target.name}.part")
    with part.open("wb") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), 0o644)
        stream.flush()
        os.fsync(stream.fileno())
    owner.give(part, path.parent)
    part.replace(target)
    sync_folder(target.parent)


def forget(path: Path) -> None:
    """Remove the receipt of a model file that was removed. Raises OSError."""
    _receipt_of(path).unlink(missing_ok=True)


def changed_since_pull(path: Path) -> bool:
    """Whether size or modification time differ from the receipt: cheap, and blind to bit rot.

    False for a file without a receipt: nothing is known about it.
    """
    receipt = read(path)
    if receipt is None:
        return False
    try:
        facts = path.stat()
    except OSError:
        return True
    return (facts.st_size, facts.st_mtime_ns) != (receipt.size_bytes, receipt.mtime_ns)


def verify(path: Path, tick: Tick | None = None) -> VerifyResult:
    """Hash the file again and compare it with its receipt; `tick` hears the bytes done."""
    receipt = read(path)
    if not path.is_file():
        return VerifyResult(status="missing", reason=f"{path} is not there")
    if receipt is None:
        return VerifyResult(status="no_receipt", reason="not pulled by edged: nothing to compare with")
    try:
        actual = sha256_of(path, tick)
    except OSError as error:
        return VerifyResult(status="changed", reason=f"cannot be read: {error.strerror}")
    if actual == receipt.sha256:
        return VerifyResult(status="ok", reason="same as when it was pulled", sha256=actual)
    return VerifyResult(
        status="changed", reason=f"sha256 is {actual}, was {receipt.sha256} when pulled", sha256=actual
    )


def sha256_of(path: Path, tick: Tick | None = None) -> str:
    """The file's sha256 in hex; `tick` hears the bytes done. Raises OSError."""
    digest = hashlib.sha256()
    done_bytes = 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            if tick:
                tick(done_bytes)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder outlive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network and FUSE mounts cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _receipt_of(path: Path) -> Path:
    return path.parent / FOLDER / f"{path.name}.json"
