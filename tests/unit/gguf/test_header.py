"""The header reader, on files that are right and on files that are not."""

import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import ModelFileError
from edged.gguf.cursor import MAX_HEADER_BYTES
from edged.gguf.header import GgufHeader, read_header, read_text
from tests.gguf_files import Tensor, Value, entry, gguf_bytes, text, write_tiny_gguf

_SMALL: dict[str, Value] = {
    "general.architecture": ("str", "llama"),
    "llama.block_count": ("u32", 1),
    "llama.embedding_length": ("u32", 4),
    "llama.context_length": ("u32", 8),
    "llama.attention.head_count": ("u32", 2),
    "tokenizer.ggml.tokens": ("[str]", ["a", "bc", ""]),
    "tokenizer.ggml.scores": ("[f32]", [0.5, 1.5, 2.5]),
}
_TENSOR = Tensor("blk.0.attn_norm.weight", (4,), bytes(16))


def _small(tensors: tuple[Tensor, ...] = (_TENSOR,), /, **changes: Value) -> bytes:
    return gguf_bytes(
        {**_SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}, tensors
    )


def _read(tmp_path: Path, content: bytes) -> GgufHeader:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return read_header(path)


def _refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        _read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "model.gguf"))
    assert "\n" not in message
    return message


# ---- right files ----


def test_tiny_llama_is_described(tmp_path: Path) -> None:
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert (header.version, header.architecture, header.name) == (3, "llama", "Tiny llama")
    assert header.size_bytes == (tmp_path / "tiny.gguf").stat().st_size
    assert (header.n_layer, header.n_embd, header.n_ff, header.n_ctx_train) == (2, 16, (32, 32), 128)
    assert (header.n_head, header.n_head_kv, header.key_length, header.value_length) == ((2, 2), (1, 1), 8, 8)
    assert (header.n_vocab, header.vocabulary_type, header.has_chat_template) == (259, "llama", True)
    assert (header.pooling_type, header.is_embedding_model, header.sliding_window) == (None, False, None)


def test_tiny_bert_is_an_embedding_model(tmp_path: Path) -> None:
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf", "bert"))
    assert (header.pooling_type, header.is_encoder, header.is_embedding_model) == ("mean", True, True)
    assert (header.n_vocab, header.vocabulary_type, header.has_chat_template) == (57, "bert", False)


def test_tensors_lie_where_their_bytes_are(tmp_path: Path) -> None:
    data = [bytes([number]) * 16 for number in (1, 2, 3)]
    header = _read(
        tmp_path, _small(tuple(Tensor(f"t{number}", (4,), each) for number, each in enumerate(data)))
    )
    content = (tmp_path / "model.gguf").read_bytes()
    assert [content[tensor.offset :][: tensor.size_bytes] for tensor in header.tensors] == data
    assert header.tensors[0].offset == header.tensor_data_offset
    assert header.tensor_bytes == 48


def test_quantised_tensors_have_the_size_of_their_blocks(tmp_path: Path) -> None:
    header = _read(tmp_path, _small((Tensor("t", (256, 2), bytes(288), kind=12), _TENSOR)))
    assert header.tensors[0].type_name == "Q4_K"
    assert header.tensors[0].size_bytes == 288


def test_other_alignment(tmp_path: Path) -> None:
    content = gguf_bytes(
        {**_SMALL, "general.alignment": ("u32", 256)}, (_TENSOR, Tensor("t", (4,), bytes(16))), 2, 256
    )
    header = _read(tmp_path, content)
    assert (header.version, header.alignment) == (2, 256)
    assert [tensor.offset % 256 for tensor in header.tensors] == [0, 0]


def test_pooling_makes_a_decoder_an_embedding_model(tmp_path: Path) -> None:
    header = _read(tmp_path, _small(llama__pooling_type=("u32", 3)))
    assert (header.pooling_type, header.is_encoder, header.is_embedding_model) == ("last", False, True)


@pytest.mark.parametrize("kind", [0, 4], ids=["none", "rank"])
def test_other_pooling_does_not(tmp_path: Path, kind: int) -> None:
    assert not _read(tmp_path, _small(llama__pooling_type=("u32", kind))).is_embedding_model


@pytest.mark.parametrize("head", ["cls.weight", "cls.output.weight"])
def test_a_classifier_makes_a_cross_encoder(tmp_path: Path, head: str) -> None:
    """Most files of cross-encoders say nothing of pooling; one that does is for what it says."""
    tensors = (_TENSOR, Tensor(head, (4,), bytes(16)))
    header = _read(tmp_path, gguf_bytes(_SMALL, tensors))
    assert (header.is_ranking_model, header.is_embedding_model, header.pools) == (True, False, True)
    for pooling, kind in ((4, True), (1, False)):
        said = {**_SMALL, "llama.pooling_type": ("u32", pooling)}
        assert _read(tmp_path, gguf_bytes(said, tensors)).is_ranking_model == kind


def test_heads_may_differ_from_layer_to_layer(tmp_path: Path) -> None:
    header = _read(
        tmp_path, _small(llama__block_count=("u32", 3), llama__attention__head_count_kv=("[i32]", [2, 0, 1]))
    )
    assert (header.n_head, header.n_head_kv) == ((2, 2, 2), (2, 0, 1))


def test_prediction_layers_are_not_counted(tmp_path: Path) -> None:
    changes: dict[str, Value] = {"llama__block_count": ("u32", 3), "llama__nextn_predict_layers": ("u32", 1)}
    assert _read(tmp_path, _small(**changes)).n_layer == 2


def test_long_values_are_counted_but_not_kept(tmp_path: Path) -> None:
    header = _read(
        tmp_path,
        _small(
            tokenizer__chat_template=("str", "x" * 2_000_000),
            tokenizer__ggml__token_type=("[i32]", [1] * 5000),
        ),
    )
    assert header.has_chat_template
    assert "tokenizer.chat_template" not in header.metadata
    assert "tokenizer.ggml.token_type" not in header.arrays
    assert header.array_lengths["tokenizer.ggml.token_type"] == 5000
    assert header.arrays["tokenizer.ggml.scores"] == (0.5, 1.5, 2.5)


def test_a_long_text_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for length, found in ((5000, "x" * 5000), (2_000_000, None)):
        path.write_bytes(_small(tokenizer__chat_template=("str", "x" * length)))
        assert read_text(path, "tokenizer.chat_template") == found
    assert read_text(path, "general.name") is None


def test_an_empty_chat_template_is_none(tmp_path: Path) -> None:
    assert not _read(tmp_path, _small(tokenizer__chat_template=("str", ""))).has_chat_template


def test_a_large_vocabulary_is_walked_quickly_and_not_built(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(
        _small(tokenizer__ggml__tokens=("[str]", [f"token {number}" for number in range(262_144)]))
    )
    started = time.perf_counter()
    header = read_header(path)
    assert header.n_vocab == 262_144
    assert time.perf_counter() - started < 2.0  # 0.03 s on a fast machine


def test_tensor_data_is_not_read(tmp_path: Path) -> None:
    n_values = 1 << 26
    path = tmp_path / "model.gguf"
    path.write_bytes(_small((Tensor("t", (n_values,), b""),)))
    os.truncate(path, path.stat().st_size + 4 * n_values)  # 256 MiB of nothing
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_header(path).tensor_bytes == 4 * n_values
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


# ---- wrong files ----


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04" + bytes(100), "begins with b'PK"),
        (b"<html>not found</html>", "begins with b'<htm'"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "version 1;"),
        (b"GGUF" + struct.pack("<IQQ", 4, 1, 1), "version 4;"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1), "announces 9223372036854775808 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 63), "announces 9223372036854775808 metadata entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0), "names no architecture"),
    ],
)
def test_wrong_beginning(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reason in _refusal(tmp_path, content)


def _with_entry(raw: bytes) -> bytes:
    """A file whose only metadata entry is `raw`."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (struct.pack("<Q", 1 << 63) + b"key", "a metadata key is 9223372036854775808 bytes long"),
        (struct.pack("<Q", 100) + b"key", "beyond its end"),
        (text("") + struct.pack("<IB", 0, 1), "is empty"),
        (text(b"\xff\xfe") + struct.pack("<IB", 0, 1), "a metadata key is not UTF-8"),
        (text("key") + struct.pack("<I", 8) + text(b"\xff\xfe"), "the value of 'key' is not UTF-8"),
        (text("key") + struct.pack("<IQ", 8, 1 << 63), "beyond its end"),
        (text("key") + struct.pack("<IQ", 8, (1 << 64) - 1), "beyond its end"),
        (text("key") + struct.pack("<I", 13), "has the unknown type 13"),
        (text("key") + struct.pack("<IIQ", 9, 13, 1), "has the unknown type 13"),
        (text("key") + struct.pack("<IIQ", 9, 9, 1) * 100, "arrays within an array"),
        (text("key") + struct.pack("<IIQ", 9, 8, 1 << 63), "announces 9223372036854775808 strings"),
        (
            text("key") + struct.pack("<IIQ", 9, 8, 2) + text("a") + struct.pack("<Q", 1 << 63),
            "beyond its end",
        ),
        (text("key") + struct.pack("<IIQ", 9, 12, 1 << 63), "beyond its end"),
        (text("key") + struct.pack("<IIQ", 9, 4, 4) + bytes(8), "beyond its end"),
    ],
)
def test_wrong_entry(tmp_path: Path, raw: bytes, reason: str) -> None:
    assert reason in _refusal(tmp_path, _with_entry(raw))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"general__architecture": ("u32", 1)}, "names no architecture"),
        ({"general__architecture": ("str", "")}, "names no architecture"),
        ({"general__architecture": ("str", "llama\x1b[2J\n")}, "names no architecture"),
        ({"general__alignment": ("u32", 0)}, "alignment is 0"),
        ({"general__alignment": ("u32", 48)}, "alignment is 48"),
        ({"general__alignment": ("u32", 1 << 31)}, "alignment is 2147483648"),
        ({"general__alignment": ("str", "32")}, "alignment is '32'"),
        ({"llama__block_count": ("str", "two")}, "llama.block_count is 'two'"),
        ({"llama__block_count": ("u32", 0)}, "0 layers"),
        ({"llama__block_count": ("u32", 513)}, "513 layers"),
        ({"llama__nextn_predict_layers": ("u32", 9)}, "-8 layers"),
        ({"llama__embedding_length": ("f32", 4.0)}, "llama.embedding_length is 4.0"),
        ({"llama__embedding_length": ("u32", 0)}, "is 0"),
        ({"llama__context_length": ("i32", -1)}, "llama.context_length is -1"),
        ({"llama__context_length": ("bool", True)}, "llama.context_length is True"),
        ({"llama__attention__head_count": ("[str]", ["a"])}, "llama.attention.head_count does not hold"),
        ({"llama__attention__head_count_kv": ("[i32]", [])}, "llama.attention.head_count_kv does not hold"),
        (
            {"llama__attention__head_count_kv": ("[f32]", [1.0])},
            "llama.attention.head_count_kv does not hold",
        ),
        ({"llama__attention__key_length": ("str", "x")}, "llama.attention.key_length is 'x'"),
        ({"llama__attention__sliding_window": ("[i32]", [1])}, "llama.attention.sliding_window is None"),
        ({"llama__pooling_type": ("str", "mean")}, "llama.pooling_type is 'mean'"),
        ({"llama__feed_forward_length": ("u64", 1 << 40)}, "llama.feed_forward_length is 1099511627776"),
    ],
)
def test_wrong_value(tmp_path: Path, changes: dict[str, Value], reason: str) -> None:
    message = _refusal(tmp_path, _small(**changes))
    assert reason in message
    assert "pull it again" in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"general__type": ("str", "mmproj")}, "a part of a model ('mmproj')"),
        ({"general__type": ("str", "adapter")}, "a part of a model ('adapter')"),
        ({"split__count": ("u16", 3)}, "one piece of a split model"),
    ],
)
def test_not_a_whole_model(tmp_path: Path, changes: dict[str, Value], reason: str) -> None:
    message = _refusal(tmp_path, _small(**changes))
    assert reason in message
    assert "pull it again" not in message  # the same file would come


def test_a_key_or_a_tensor_twice(tmp_path: Path) -> None:
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + entry("a", ("u32", 1)) * 2
    assert "the metadata key 'a' is there twice" in _refusal(tmp_path, content)
    assert "is there twice" in _refusal(tmp_path, _small((_TENSOR, _TENSOR)))


def _with_tensor(name: bytes, n_dims: int, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    """A file whose only tensor is described so, and 16 bytes of data."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(_SMALL))
    head += b"".join(entry(key, value) for key, value in _SMALL.items())
    head += text(name) + struct.pack(f"<I{len(dims)}Q", n_dims, *dims) + struct.pack("<IQ", kind, offset)
    return head + bytes(-len(head) % 32) + bytes(16)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        ((b"\xff", 1, (4,), 0, 0), "a tensor's name is not UTF-8"),
        ((b"x" * 64, 1, (4,), 0, 0), "a tensor's name is 64 bytes long"),
        ((b"t", 0, (), 0, 0), "0 dimensions"),
        ((b"t", 5, (1, 1, 1, 1, 1), 0, 0), "5 dimensions"),
        ((b"t", 1 << 31, (4,), 0, 0), "2147483648 dimensions"),
        ((b"t", 1, (0,), 0, 0), "cannot have the shape [0]"),
        ((b"t", 2, (4, 0), 0, 0), "cannot have the shape [4, 0]"),
        ((b"t", 1, (33,), 8, 0), "cannot have the shape [33] in Q8_0"),
        ((b"t", 1, (1 << 63,), 0, 0), "larger than any file"),
        ((b"t", 4, ((1 << 63) - 1,) * 4, 0, 0), "larger than any file"),
        ((b"t", 1, (4,), 4, 0), "unknown type 4"),
        ((b"t", 1, (4,), 31, 0), "unknown type 31"),
        ((b"t", 1, (4,), 0xFFFFFFFF, 0), "unknown type 4294967295"),
        ((b"t", 1, (4,), 0, 8), "lies at 8, expected at 0"),
        ((b"t", 1, (4,), 0, 32), "lies at 32, expected at 0"),
        ((b"t", 1, (4,), 0, (1 << 64) - 32), "expected at 0"),
        ((b"t", 1, (5,), 0, 0), "tensor 't' ends at byte"),
        ((b"t", 1, (1 << 40,), 0, 0), "tensor 't' ends at byte"),
    ],
)
def test_wrong_tensor(
    tmp_path: Path, tensor: tuple[bytes, int, tuple[int, ...], int, int], reason: str
) -> None:
    assert reason in _refusal(tmp_path, _with_tensor(*tensor))


def test_overlapping_tensors(tmp_path: Path) -> None:
    content = bytearray(_small((Tensor("first", (4,), bytes(16)), Tensor("second", (4,), bytes(16)))))
    at = content.index(b"second") + len(b"second") + 4 + 8 + 4
    content[at : at + 8] = bytes(8)
    assert "tensor 'second' lies at 0, expected at 32" in _refusal(tmp_path, bytes(content))


def test_no_tensors(tmp_path: Path) -> None:
    assert "no tensors" in _refusal(tmp_path, _small(()))


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = _small()
    path = tmp_path / "model.gguf"
    last_needed = read_header_size(content, path)
    path.write_bytes(content)
    for size in reversed(range(last_needed)):
        os.truncate(path, size)
        with pytest.raises(ModelFileError):
            read_header(path)


def read_header_size(content: bytes, path: Path) -> int:
    """The bytes of the file without the padding behind its last tensor."""
    path.write_bytes(content)
    last = read_header(path).tensors[-1]
    return last.offset + last.size_bytes


def test_a_header_without_end_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(_with_entry(text("key") + struct.pack("<IIQ", 9, 8, 1 << 26)))
    os.truncate(path, 1 << 34)  # 16 GiB of empty strings, of which only some may be walked
    started = time.perf_counter()
    with pytest.raises(ModelFileError, match="announces 67108864 strings"):
        read_header(path)
    assert time.perf_counter() - started < 2.0


def test_a_header_over_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(_with_entry(text("key") + struct.pack("<IQ", 8, MAX_HEADER_BYTES)))
    os.truncate(path, 1 << 34)
    with pytest.raises(ModelFileError, match=f"longer than {MAX_HEADER_BYTES} bytes"):
        read_header(path)


# ---- not files ----


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [Path.mkdir, _fifo], ids=["folder", "fifo"])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model.gguf")
    with pytest.raises(ModelFileError, match=r"model\.gguf: (not a regular file|cannot be read)"):
        read_header(tmp_path / "model.gguf")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file; fetch it with `edged pull`"):
        read_header(tmp_path / "model.gguf")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_header(Path("a\0b"))


# ---- anything at all ----


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.gguf"


@settings(max_examples=400, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_bytes_give_a_header_or_an_error(scratch: Path, edits: list[tuple[int, int]]) -> None:
    content = bytearray(_small())
    for at, value in edits:
        content[at % len(content)] = value
    _survives(scratch, bytes(content))


@settings(max_examples=200, deadline=None)
@given(
    at=st.integers(0, 1 << 16),
    value=st.sampled_from([0, 1, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1]),
)
def test_extreme_numbers_give_a_header_or_an_error(scratch: Path, at: int, value: int) -> None:
    content = bytearray(_small())
    at %= len(content) - 8
    content[at : at + 8] = struct.pack("<Q", value)
    _survives(scratch, bytes(content))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=400), keep=st.integers(0, 400))
def test_noise_after_a_good_beginning_gives_an_error(scratch: Path, content: bytes, keep: int) -> None:
    _survives(scratch, _small()[:keep] + content)


def _survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        header = read_header(path)
    except ModelFileError:
        return
    # A header that was accepted answers for everything it says.
    assert header.n_layer == len(header.n_head) == len(header.n_head_kv) == len(header.n_ff)
    assert header.key_length >= 0
    assert header.value_length >= 0
    assert header.is_embedding_model in (True, False)
    assert all(tensor.offset + tensor.size_bytes <= header.size_bytes for tensor in header.tensors)
