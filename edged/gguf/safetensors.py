"""Reads safetensors files with numpy alone: a length, a JSON directory, then the numbers."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from edged.errors import ModelFileError

_MAX_DIRECTORY_BYTES = 16 << 20
_WIDTHS: dict[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}

_Length = Annotated[int, msgspec.Meta(ge=0)]
Floats = npt.NDArray[np.float32]


class _Described(msgspec.Struct, frozen=True):
    """A tensor as the directory tells it; offsets count from the end of the directory."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: Annotated[tuple[_Length, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Length, _Length]


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int  # from the start of the file
    end: int


class SafeTensors:
    """An open safetensors file, its directory checked. Raises ModelFileError where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - closed by `__exit__`
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            self._entries = self._directory()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def read(self, name: str) -> Floats:
        """One tensor as float32. Raises ModelFileError where it is not made of finite floats."""
        entry = self._entries[name]
        self._file.seek(entry.start)
        raw = self._file.read(entry.end - entry.start)
        if len(raw) != entry.end - entry.start:
            raise self._fail(f"it ended inside tensor {name!r}")
        values = _as_float32(raw, entry.dtype)
        if values is None:
            raise self._fail(f"tensor {name!r} is made of {entry.dtype}, expected F32, F16 or BF16")
        if not np.isfinite(values).all():
            raise self._fail(f"tensor {name!r} holds values that are not finite")
        return values.reshape(entry.shape)

    def _fail(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {what}; the file is damaged or incomplete, pull it again")

    def _directory(self) -> dict[str, _Entry]:
        size = os.fstat(self._file.fileno()).st_size
        head = self._file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or not 2 <= length <= min(_MAX_DIRECTORY_BYTES, size - 8):
            raise self._fail("its directory's length is wrong")
        try:
            directory = json.loads(self._file.read(length), object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise self._fail(f"its directory cannot be read: {error}") from error
        if not isinstance(directory, dict):
            raise self._fail("its directory is not a table")
        directory.pop("__metadata__", None)
        return {name: self._entry(name, raw, 8 + length, size) for name, raw in directory.items()}

    def _entry(self, name: str, raw: object, data_offset: int, size: int) -> _Entry:
        try:
            told = msgspec.convert(raw, _Described)
        except msgspec.ValidationError as error:
            raise self._fail(f"tensor {name!r} is described wrongly: {error}") from error
        n_bytes = _WIDTHS[told.dtype]
        for dim in told.shape:
            n_bytes *= dim
        start, end = told.data_offsets
        if end - start != n_bytes or data_offset + end > size:
            raise self._fail(f"tensor {name!r} does not lie within the file")
        return _Entry(told.dtype, told.shape, data_offset + start, data_offset + end)


def _as_float32(raw: bytes, dtype: str) -> Floats | None:
    if dtype == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is there twice")
    return table
