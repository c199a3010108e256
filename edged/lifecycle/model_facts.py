"""What model files say about themselves, for who lists models: read once, and again when a file changes."""

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edged.errors import ModelFileError
from edged.gguf.header import GgufHeader, Scalar, read_header, read_text
from edged.gguf.tensor_types import FILE_TYPES
from edged.store import receipt

_TEMPLATE = "tokenizer.chat_template"
_MOST_KEPT = 256


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One model file. All but the size is None where it cannot be read, as of a runner without a model."""

    size_bytes: int = 0
    modified_s: float | None = None
    sha256: str | None = None  # as its receipt has it
    architecture: str | None = None
    n_parameters: int | None = None
    weights: str | None = None  # Q4_K_M
    metadata: Mapping[str, Scalar] = {}
    array_lengths: Mapping[str, int] = {}
    chat_template: str | None = None

    @property
    def license(self) -> str | None:
        """What its license is called."""
        value = self.metadata.get("general.license")
        return value if isinstance(value, str) else None


class ModelFiles:
    """The facts of files, by their paths. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int, int], ModelFacts]] = {}

    def facts(self, path: str) -> ModelFacts:
        """What is known of a file now. Never raises."""
        try:
            found = os.stat(path)
        except OSError:
            return ModelFacts()
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == state:
            return known[1]
        facts = _facts(Path(path), found)
        with self._lock:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[path] = (state, facts)
        return facts


def chat_template(path: str) -> str | None:
    """The chat template of a model file; None where it has none or cannot be read."""
    try:
        return read_text(Path(path), _TEMPLATE)
    except ModelFileError:
        return None


def _facts(path: Path, found: os.stat_result) -> ModelFacts:
    known = receipt.read(path)
    facts = ModelFacts(
        size_bytes=found.st_size, modified_s=found.st_mtime, sha256=known.sha256 if known else None
    )
    try:
        header = read_header(path)
    except ModelFileError:
        return facts
    return msgspec.structs.replace(
        facts,
        architecture=header.architecture,
        n_parameters=header.n_parameters,
        weights=_weights(header),
        metadata=header.metadata,
        array_lengths=header.array_lengths,
        chat_template=chat_template(str(path)) if header.has_chat_template else None,
    )


def _weights(header: GgufHeader) -> str:
    recipe = header.metadata.get("general.file_type")
    return FILE_TYPES.get(recipe, header.main_type) if isinstance(recipe, int) else header.main_type


def digest(model: str, facts: ModelFacts) -> str:
    """64 hexadecimal digits that change when the file does: its hash, or one of its state."""
    state = f"{model} {facts.size_bytes} {facts.modified_s}"
    return facts.sha256 or hashlib.sha256(state.encode()).hexdigest()
