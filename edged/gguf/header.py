"""What a GGUF file says about itself: read from its front only, without the tensors and without numpy.

The format is described in ggml's `docs/gguf.md`; what is refused here llama.cpp refuses too, some of it by
ending the process. Files come from elsewhere, so nothing in them is trusted.
"""

import math
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from edged.errors import ModelFileError
from edged.gguf.cursor import Cursor
from edged.gguf.values import read_directory, read_metadata, read_preamble

# Architectures that llama.cpp runs as encoders: no KV cache, all tokens of a text at once.
ENCODERS = frozenset(
    {
        "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3",
        "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe",
    }
)  # fmt: skip
_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
_MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
_MAX_INTEGER = (1 << 31) - 1

Scalar = int | float | bool | str
_Read = TypeVar("_Read")


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor. `dims` begins with the length of a row; `offset` counts from the start of the file."""

    name: str
    type_name: str
    dims: tuple[int, ...]
    offset: int
    size_bytes: int


class GgufHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The front of one file, checked: every property answers for it without raising.

    `metadata` holds the scalar values (long texts left out), `arrays` the short numeric arrays, such as one
    value for each layer, and `array_lengths` how many values every array has.
    """

    path: str
    version: int
    architecture: str
    size_bytes: int
    alignment: int
    tensor_data_offset: int
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, Scalar]
    arrays: dict[str, tuple[int | float | bool, ...]]
    array_lengths: dict[str, int]
    has_chat_template: bool

    @property
    def name(self) -> str | None:
        """The model's own name, where it has one."""
        value = self.metadata.get("general.name")
        return value if isinstance(value, str) else None

    @property
    def n_layer(self) -> int:
        """Transformer blocks, those of a multi-token prediction head not counted."""
        return self._count("block_count") - self._count("nextn_predict_layers", 0)

    @property
    def n_embd(self) -> int:
        """Width of the residual stream; for an embedding model the length of its vectors."""
        return self._count("embedding_length")

    @property
    def n_ctx_train(self) -> int:
        """Positions the model was trained on."""
        return self._count("context_length")

    @property
    def n_ff(self) -> tuple[int, ...]:
        """Width of the feed-forward network, for each layer; 0 where the file does not say."""
        return self._per_layer("feed_forward_length", (0,) * self.n_layer)

    @property
    def n_head(self) -> tuple[int, ...]:
        """Query heads, for each layer; 0 where a layer has no attention."""
        return self._per_layer("attention.head_count", (0,) * self.n_layer)

    @property
    def n_head_kv(self) -> tuple[int, ...]:
        """Key and value heads, for each layer; fewer than `n_head` with grouped queries."""
        return self._per_layer("attention.head_count_kv", self.n_head)

    @property
    def key_length(self) -> int:
        """Width of one key head."""
        return self._count("attention.key_length", self._even_head_width)

    @property
    def value_length(self) -> int:
        """Width of one value head."""
        return self._count("attention.value_length", self._even_head_width)

    @property
    def sliding_window(self) -> int | None:
        """Positions that a sliding-window layer looks back, where the file gives it."""
        return self._count("attention.sliding_window", 0) or None

    @property
    def pooling_type(self) -> str | None:
        """How token vectors become one: none, mean, cls, last or rank; None where the file does not say."""
        return _POOLING.get(self._count("pooling_type", -1))

    @property
    def is_encoder(self) -> bool:
        """Whether llama.cpp runs it without a KV cache, all of a text at once."""
        return self.architecture in ENCODERS

    @property
    def is_embedding_model(self) -> bool:
        """Whether it is made for vectors: an encoder, or any model that says how to pool."""
        if self.is_ranking_model:
            return False
        return self.is_encoder or self.pooling_type in ("mean", "cls", "last")

    @property
    def is_ranking_model(self) -> bool:
        """Whether it is a cross-encoder, made for scores. Many files only have the classifier."""
        return self.has_classifier and self.pooling_type in ("rank", None)

    @property
    def has_classifier(self) -> bool:
        """Whether it can score a text."""
        return any(self.tensor(name) is not None for name in ("cls.weight", "cls.output.weight"))

    @property
    def pools(self) -> bool:
        """Whether all of an input becomes one vector or score, and none of it is generated."""
        return self.is_embedding_model or self.is_ranking_model

    @property
    def vocabulary_type(self) -> str | None:
        """The tokenizer's family: llama (SentencePiece), gpt2 (byte pairs), bert (WordPiece), t5, ..."""
        value = self.metadata.get("tokenizer.ggml.model")
        return value if isinstance(value, str) else None

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self.array_lengths.get("tokenizer.ggml.tokens", 0)

    @property
    def tensor_bytes(self) -> int:
        """What the weights take in the file."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def main_type(self) -> str:
        """The type that most bytes of the weights have."""
        bytes_by_type: Counter[str] = Counter()
        for tensor in self.tensors:
            bytes_by_type[tensor.type_name] += tensor.size_bytes
        return bytes_by_type.most_common(1)[0][0]

    @property
    def n_parameters(self) -> int:
        """Weights, by the file's own count or by the tensors' shapes."""
        told = self.metadata.get("general.parameter_count")
        if isinstance(told, int) and not isinstance(told, bool) and told > 0:
            return told
        return sum(math.prod(tensor.dims) for tensor in self.tensors)

    def tensor(self, name: str) -> TensorInfo | None:
        """The tensor of that name."""
        return next((tensor for tensor in self.tensors if tensor.name == name), None)

    def integer(self, key: str, default: int = 0) -> int:
        """A whole number of this architecture's metadata. Raises ModelFileError where it is not one."""
        return self._count(key, default)

    @property
    def _even_head_width(self) -> int:
        heads = next((count for count in self.n_head if count), 0)
        return self.n_embd // heads if heads else 0

    def _count(self, key: str, default: int | None = None) -> int:
        full = f"{self.architecture}.{key}"
        if full not in self.metadata and full not in self.array_lengths and default is not None:
            return default
        value = self.metadata.get(full)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
            raise _unusable(self.path, f"{full} is {value!r}, expected a whole number")
        return value

    def _per_layer(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        full = f"{self.architecture}.{key}"
        if full not in self.array_lengths:
            return (self._count(key),) * self.n_layer if full in self.metadata else default
        values = tuple(
            value
            for value in self.arrays.get(full, ())
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INTEGER
        )
        if len(values) != self.array_lengths[full] or len(values) < self.n_layer:
            raise _unusable(
                self.path, f"{full} does not hold a whole number for each of {self.n_layer} layers"
            )
        return values[: self.n_layer]


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a model file. Raises ModelFileError naming the file and the reason."""
    return _read(path, _parse)


def read_text(path: Path, key: str) -> str | None:
    """A text of a model file's metadata that may be long; None where there is none. Raises as above."""

    def find(cursor: Cursor) -> str | None:
        _, _, n_entries = read_preamble(cursor)
        value = read_metadata(cursor, n_entries, key).scalars.get(key)
        return value if isinstance(value, str) else None

    return _read(path, find)


def _read(path: Path, parse: Callable[[Cursor], _Read]) -> _Read:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ModelFileError(f"{path}: not a regular file; give the path of a GGUF file")
            # Readahead would fetch what lies behind the header, wanted or not, and delay what is read next.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            return parse(Cursor(file, str(path)))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{path}: no such file; fetch it with `edged pull` or correct the path"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelFileError(f"{path}: cannot be read: {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe, which would otherwise wait for its writer, only to be refused."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(cursor: Cursor) -> GgufHeader:
    version, n_tensors, n_entries = read_preamble(cursor)
    metadata = read_metadata(cursor, n_entries)
    directory = read_directory(cursor, n_tensors, metadata.alignment)
    header = GgufHeader(
        path=cursor.path,
        version=version,
        architecture=metadata.architecture,
        size_bytes=cursor.size_bytes,
        alignment=metadata.alignment,
        tensor_data_offset=directory.data_offset,
        tensors=tuple(TensorInfo(*entry) for entry in directory.tensors),
        metadata=metadata.scalars,
        arrays=metadata.arrays,
        array_lengths=metadata.array_lengths,
        has_chat_template=metadata.has_chat_template,
    )
    _check(header)
    return header


def _check(header: GgufHeader) -> None:
    """Use everything once, so that a header that was handed out never raises later."""
    if header.metadata.get("general.type", "model") != "model":
        kind = header.metadata["general.type"]
        raise _unusable(header.path, f"it holds a part of a model ({kind!r}), not a model", pull=False)
    if header.metadata.get("split.count", 1) not in (0, 1):
        reason = "it is one piece of a split model; join the pieces with llama-gguf-split --merge"
        raise _unusable(header.path, reason, pull=False)
    if not header.tensors:
        raise _unusable(header.path, "it holds no tensors")
    if not 0 < header.n_layer <= _MAX_LAYERS:
        raise _unusable(header.path, f"it has {header.n_layer} layers, expected 1 to {_MAX_LAYERS}")
    if not (header.n_embd and header.n_ctx_train):
        raise _unusable(header.path, "its embedding or context length is 0")
    _ = (header.n_ff, header.n_head, header.n_head_kv, header.key_length, header.value_length)
    _ = (header.sliding_window, header.pooling_type)


def _unusable(path: str, what: str, pull: bool = True) -> ModelFileError:
    advice = "; the file is damaged or incomplete, pull it again" if pull else ""
    return ModelFileError(f"{path}: not a usable GGUF file: {what}{advice}")
