"""The three parts of a GGUF header, in their order: preamble, metadata, directory of tensors."""

import struct
from typing import NamedTuple

from edged.gguf.cursor import Cursor
from edged.gguf.tensor_types import TENSOR_TYPES

# Far above what any model has; they bound the memory that a hostile file can cost.
MAX_ENTRIES = 1024
MAX_TENSORS = 65536
MAX_KEPT_TEXT_BYTES = 1024
MAX_TEXT_BYTES = 1 << 20  # of one that is asked for
MAX_KEPT_VALUES = 512  # one for each layer
_MAX_KEY_BYTES = 65535  # by the format's description
_MAX_NAME_BYTES = 63  # ggml's GGML_MAX_NAME less its end mark
_MAX_DIMS = 4
_MAX_ALIGNMENT = 1 << 20
_MAX_FILE_BYTES = (1 << 63) - 1

_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

_Number = int | float | bool


class Metadata(NamedTuple):
    """The key-value pairs, without what is long."""

    architecture: str
    alignment: int
    scalars: dict[str, int | float | bool | str]
    arrays: dict[str, tuple[_Number, ...]]
    array_lengths: dict[str, int]
    has_chat_template: bool


class TensorEntry(NamedTuple):
    """A tensor; `offset` counts from the start of the file."""

    name: str
    type_name: str
    dims: tuple[int, ...]
    offset: int
    size_bytes: int


class Directory(NamedTuple):
    """Where the tensors lie."""

    data_offset: int
    tensors: tuple[TensorEntry, ...]


def read_preamble(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of metadata entries."""
    if cursor.size_bytes == 0:
        raise cursor.fail("it is empty")
    if (magic := cursor.take(4)) != b"GGUF":
        raise cursor.fail(f"it begins with {magic!r} instead of b'GGUF'")
    version = _u32(cursor)
    if version & 0xFFFF == 0:
        raise cursor.fail("it is big-endian (or its version is 0), which this machine cannot run")
    if version not in (2, 3):
        raise cursor.fail(f"it has version {version}; versions 2 and 3 can be read")
    n_tensors, n_entries = _u64(cursor), _u64(cursor)
    if n_tensors > MAX_TENSORS:
        raise cursor.fail(f"it announces {n_tensors} tensors, more than {MAX_TENSORS}")
    if n_entries > MAX_ENTRIES:
        raise cursor.fail(f"it announces {n_entries} metadata entries, more than {MAX_ENTRIES}")
    return version, n_tensors, n_entries


def read_metadata(cursor: Cursor, n_entries: int, whole: str | None = None) -> Metadata:
    """The entries after the preamble. The text of the key `whole` is kept, however long (up to a bound)."""
    scalars: dict[str, int | float | bool | str] = {}
    arrays: dict[str, tuple[_Number, ...]] = {}
    lengths: dict[str, int] = {}
    seen: set[str] = set()
    for _ in range(n_entries):
        key = _text(cursor, _MAX_KEY_BYTES, "a metadata key")
        if not key or key in seen:
            raise cursor.fail(f"the metadata key {key!r} is {'there twice' if key else 'empty'}")
        seen.add(key)
        kind = _u32(cursor)
        if kind == _ARRAY:
            lengths[key], numbers = _array(cursor, key)
            if numbers is not None:
                arrays[key] = numbers
            continue
        most_bytes = MAX_TEXT_BYTES if key == whole else MAX_KEPT_TEXT_BYTES
        if (value := _scalar(cursor, key, kind, most_bytes)) is not None:
            scalars[key] = value
    architecture = scalars.get("general.architecture")
    if not isinstance(architecture, str) or not architecture or not architecture.isprintable():
        raise cursor.fail("it names no architecture (general.architecture)")
    return Metadata(
        architecture=architecture,
        alignment=_alignment(cursor, scalars.get("general.alignment", 32)),
        scalars=scalars,
        arrays=arrays,
        array_lengths=lengths,
        has_chat_template="tokenizer.chat_template" in seen and scalars.get("tokenizer.chat_template") != "",
    )


def read_directory(cursor: Cursor, n_tensors: int, alignment: int) -> Directory:
    """The tensors' names, shapes and places, checked against the size of the file."""
    entries = [_tensor(cursor) for _ in range(n_tensors)]
    data_offset = _padded(cursor.offset, alignment)
    names: set[str] = set()
    tensors: list[TensorEntry] = []
    expected = 0
    for entry in entries:
        if entry.name in names:
            raise cursor.fail(f"the tensor {entry.name!r} is there twice")
        names.add(entry.name)
        # llama.cpp takes only files whose tensors follow each other in the order of the directory.
        if entry.offset != expected:
            raise cursor.fail(f"tensor {entry.name!r} lies at {entry.offset}, expected at {expected}")
        end = data_offset + entry.offset + entry.size_bytes
        if end > cursor.size_bytes:
            raise cursor.fail(f"tensor {entry.name!r} ends at byte {end}, the file at {cursor.size_bytes}")
        expected = _padded(entry.offset + entry.size_bytes, alignment)
        tensors.append(entry._replace(offset=data_offset + entry.offset))
    return Directory(data_offset, tuple(tensors))


def _tensor(cursor: Cursor) -> TensorEntry:
    name = _text(cursor, _MAX_NAME_BYTES, "a tensor's name")
    n_dims = _u32(cursor)
    if not 0 < n_dims <= _MAX_DIMS:
        raise cursor.fail(f"tensor {name!r} has {n_dims} dimensions, expected 1 to {_MAX_DIMS}")
    dims = tuple(_u64(cursor) for _ in range(n_dims))
    kind = TENSOR_TYPES.get(number := _u32(cursor))
    offset = _u64(cursor)
    if kind is None:
        raise cursor.fail(f"tensor {name!r} has the unknown type {number}")
    n_elements = 1
    for dim in dims:
        n_elements *= dim
    if n_elements == 0 or dims[0] % kind.block_elements:
        raise cursor.fail(f"tensor {name!r} cannot have the shape {list(dims)} in {kind.name}")
    if kind.n_bytes(n_elements) > _MAX_FILE_BYTES:
        raise cursor.fail(f"tensor {name!r} of shape {list(dims)} is larger than any file")
    return TensorEntry(name, kind.name, dims, offset, kind.n_bytes(n_elements))


def _scalar(cursor: Cursor, key: str, kind: int, most_bytes: int) -> _Number | str | None:
    """One value; None where it is a text longer than is kept."""
    if kind == _STRING:
        length = _u64(cursor)
        if length > most_bytes:
            cursor.skip(length)
            return None
        return _decode(cursor, cursor.take(length), f"the value of {key!r}")
    layout = _SCALARS.get(kind)
    if layout is None:
        raise cursor.fail(f"the metadata entry {key!r} has the unknown type {kind}")
    (value,) = layout.unpack(cursor.take(layout.size))
    assert isinstance(value, int | float)
    return value


def _array(cursor: Cursor, key: str) -> tuple[int, tuple[_Number, ...] | None]:
    """How many values it has, and the values themselves where they are few numbers."""
    kind, length = _u32(cursor), _u64(cursor)
    if kind == _STRING:
        cursor.skip_strings(length)
        return length, None
    layout = _SCALARS.get(kind)
    if layout is None:
        nested = "arrays within an array" if kind == _ARRAY else f"the unknown type {kind}"
        raise cursor.fail(f"the metadata entry {key!r} has {nested}")
    if length > MAX_KEPT_VALUES:
        cursor.skip(length * layout.size)
        return length, None
    return length, tuple(value for (value,) in layout.iter_unpack(cursor.take(length * layout.size)))


def _alignment(cursor: Cursor, value: int | float | bool | str) -> int:
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not 1 <= value <= _MAX_ALIGNMENT
        or value & (value - 1)
    ):
        raise cursor.fail(f"its alignment is {value!r}, expected a power of two up to {_MAX_ALIGNMENT}")
    return value


def _text(cursor: Cursor, max_bytes: int, what: str) -> str:
    length = _u64(cursor)
    if length > max_bytes:
        raise cursor.fail(f"{what} is {length} bytes long, more than {max_bytes}")
    return _decode(cursor, cursor.take(length), what)


def _decode(cursor: Cursor, raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise cursor.fail(f"{what} is not UTF-8") from error


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _u32(cursor: Cursor) -> int:
    (value,) = _U32.unpack(cursor.take(4))
    assert isinstance(value, int)
    return value


def _u64(cursor: Cursor) -> int:
    (value,) = _U64.unpack(cursor.take(8))
    assert isinstance(value, int)
    return value
