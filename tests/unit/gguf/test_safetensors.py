"""The safetensors reader."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import ModelFileError
from edged.gguf.safetensors import SafeTensors
from tests.unit.gguf.bert_folders import safetensors_bytes

_ONE = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def _file(tmp_path: Path, directory: object, data: bytes = bytes(16)) -> Path:
    head = json.dumps(directory).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


def test_every_float_type_becomes_float32(tmp_path: Path) -> None:
    wanted = np.array([[1.0, -2.5], [0.0, 96.0]], np.float32)
    path = tmp_path / "model.safetensors"
    bfloat16 = (wanted.view(np.uint32) >> 16).astype(np.uint16)
    path.write_bytes(safetensors_bytes({"f32": wanted, "f16": wanted.astype(np.float16), "bf16": bfloat16}))
    with SafeTensors(path) as file:
        assert file.shapes == {"f32": (2, 2), "f16": (2, 2), "bf16": (2, 2)}
        for name in file.shapes:
            assert file.read(name).dtype == np.float32
            assert (file.read(name) == wanted).all()


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({**_ONE, "dtype": "F8"}, "described wrongly"),
        ({**_ONE, "shape": [2, -2]}, "described wrongly"),
        ({**_ONE, "shape": [2.0, 2]}, "described wrongly"),
        ({**_ONE, "shape": [True, 4]}, "described wrongly"),
        ({**_ONE, "shape": [1] * 1000}, "described wrongly"),
        ({**_ONE, "shape": None}, "described wrongly"),
        ({**_ONE, "data_offsets": [0]}, "described wrongly"),
        ({**_ONE, "data_offsets": [-16, 0]}, "described wrongly"),
        ({"dtype": "F32"}, "described wrongly"),
        ("F32", "described wrongly"),
        ({**_ONE, "shape": [2, 3]}, "does not lie within the file"),
        ({**_ONE, "shape": [1 << 62, 1 << 62]}, "does not lie within the file"),
        ({**_ONE, "data_offsets": [16, 0]}, "does not lie within the file"),
        ({**_ONE, "data_offsets": [8, 24]}, "does not lie within the file"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, described: object, reason: str) -> None:
    with pytest.raises(ModelFileError, match=reason):
        SafeTensors(_file(tmp_path, {"t": described}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "length is wrong"),
        (b"\x02\x00\x00", "length is wrong"),
        (struct.pack("<Q", 1 << 63) + b"{}", "length is wrong"),
        (struct.pack("<Q", 3) + b"{}", "length is wrong"),
        (struct.pack("<Q", 0) + b"{}", "length is wrong"),
        (struct.pack("<Q", 2) + b"[]", "not a table"),
        (struct.pack("<Q", 2) + b"{x", "cannot be read"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "cannot be read"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "cannot be read"),
        (struct.pack("<Q", 15) + b'{"a":{},"a":{}}', "a name is there twice"),
    ],
)
def test_wrong_directories(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        SafeTensors(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        SafeTensors(tmp_path / "model.safetensors")


def test_other_numbers_and_infinite_ones_are_refused(tmp_path: Path) -> None:
    directory = {"ids": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}, "weights": _ONE}
    with SafeTensors(_file(tmp_path, directory, np.array([1, 2, np.inf, 0], np.float32).tobytes())) as file:
        with pytest.raises(ModelFileError, match="'ids' is made of I64"):
            file.read("ids")
        with pytest.raises(ModelFileError, match="not finite"):
            file.read("weights")


def test_a_file_cut_off_while_open(tmp_path: Path) -> None:
    path = _file(tmp_path, {"t": {**_ONE, "shape": [1 << 16], "data_offsets": [0, 1 << 18]}}, bytes(1 << 18))
    with SafeTensors(path) as file:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ModelFileError, match="ended inside tensor 't'"):
            file.read("t")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=200, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_bytes_give_arrays_or_an_error(scratch: Path, edits: list[tuple[int, int]]) -> None:
    path = scratch / "model.safetensors"
    content = bytearray(safetensors_bytes({"t": np.ones((2, 2), np.float32)}))
    for at, value in edits:
        content[at % len(content)] = value
    path.write_bytes(content)
    try:
        with SafeTensors(path) as file:
            for name, shape in file.shapes.items():
                assert file.read(name).shape == shape
    except ModelFileError:
        return
