"""Turn a received folder into GGUF, in the weight format that was asked for or that is best here."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from edged.errors import ModelFileError, PullError
from edged.store.catalog import ConvertTo
from edged.store.job import Job
from edged.store.room import DoesNotFit, check_memory

# The best of some files by format, of which the first argument is the default; and why it is.
Choose = Callable[[ConvertTo, Mapping[ConvertTo, Path]], tuple[ConvertTo, str]]


def default_format(default: ConvertTo, _files: Mapping[ConvertTo, Path]) -> tuple[ConvertTo, str]:
    """A `Choose` that compares nothing."""
    return default, f"weights {default}: not compared with others"


@dataclass(frozen=True)
class Converted:
    """The finished file; `reason` says why it has these weights where formats were compared."""

    path: Path
    weights: str | None
    reason: str | None = None


def convert_received(job: Job, weights: ConvertTo, memory_bytes: int | None, choose: Choose) -> Converted:
    """Convert into a scratch folder. Raises PullError where that fails."""
    scratch = job.work.scratch()
    files = {weights: _converted(job, weights, scratch)}
    for other in _others(job, memory_bytes):
        files[other] = _converted(job, other, scratch)
    if len(files) == 1:
        return Converted(files[weights], weights)
    job.progress.say(f"{job.wanted.id}: measuring which of {', '.join(files)} is fastest on this CPU")
    chosen, reason = choose(weights, files)
    return Converted(files[chosen], chosen, reason)


def _others(job: Job, memory_bytes: int | None) -> Iterator[ConvertTo]:
    """The formats to compare with, as far as there is memory and room on the disk for them."""
    for variant in job.wanted.alternatives:
        with contextlib.suppress(DoesNotFit):
            check_memory(job.wanted.id, variant.memory_bytes, memory_bytes, force=False)
            job.check_disk(variant.size_bytes)
            yield msgspec.convert(variant.weights, ConvertTo)


def _converted(job: Job, weights: ConvertTo, scratch: Path) -> Path:
    from edged.gguf.convert import convert  # numpy: only when something is converted

    target = scratch / f"model-{weights}"
    label = f"{job.wanted.id}: converting to {weights}"
    try:
        convert(job.work.files, target, weights, partial(job.progress.advance, label))
    except ModelFileError as error:
        raise PullError(f"{job.wanted.id}: cannot be converted: {error}") from error
    return target
