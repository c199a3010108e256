"""The converter on a tiny BERT folder: what it writes, and what it refuses. Real vectors: tests/e2e."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import gguf
import numpy as np
import pytest

from edged.errors import ModelFileError
from edged.gguf.convert import WeightType, convert
from edged.gguf.header import read_header
from tests.unit.gguf.bert_folders import (
    CONFIG,
    WORDS,
    bert_arrays,
    safetensors_bytes,
    write_bert_folder,
    write_json,
)


def _converted(tmp_path: Path, weight_type: WeightType = "q8_0") -> gguf.GGUFReader:
    target = tmp_path / "model.gguf"
    convert(write_bert_folder(tmp_path / "folder"), target, weight_type)
    return gguf.GGUFReader(target)


def _field(reader: gguf.GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()


def test_metadata(tmp_path: Path) -> None:
    reader = _converted(tmp_path)
    expected = {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "tiny-bert",
        "general.file_type": 7,
        "bert.block_count": 2,
        "bert.context_length": 24,
        "bert.embedding_length": 32,
        "bert.feed_forward_length": 64,
        "bert.attention.head_count": 2,
        "bert.attention.causal": False,
        "bert.attention.layer_norm_epsilon": pytest.approx(1e-12),
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,  # llama.cpp's spelling
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.normalizer.lowercase": True,
        "tokenizer.ggml.normalizer.strip_accents": True,
    }
    assert {key: _field(reader, key) for key in expected} == expected


def test_vocabulary_is_spelt_as_llama_cpp_wants_it(tmp_path: Path) -> None:
    reader = _converted(tmp_path)
    assert _field(reader, "tokenizer.ggml.tokens") == [
        *WORDS[:5],
        *("\u2581a", "a", "\u2581walk", "ing", "\u2581##", "\u2581\u2028"),
        "[PAD11]",
    ]
    assert _field(reader, "tokenizer.ggml.token_type") == [3] * 5 + [1] * 6 + [5]


@pytest.mark.parametrize("weight_type", get_args(WeightType))
def test_weights(tmp_path: Path, weight_type: WeightType) -> None:
    reader = _converted(tmp_path, weight_type)
    arrays = bert_arrays()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(arrays) == 5 + 2 * 16
    for name, source, kind, tolerance in (
        ("token_embd.weight", "embeddings.word_embeddings.weight", weight_type, 0.005),
        ("position_embd.weight", "embeddings.position_embeddings.weight", "f32", 0),
        ("token_types.weight", "embeddings.token_type_embeddings.weight", "f32", 0),
        ("token_embd_norm.bias", "embeddings.LayerNorm.bias", "f32", 0),
        ("blk.1.attn_q.weight", "encoder.layer.1.attention.self.query.weight", weight_type, 0.005),
        ("blk.1.attn_output_norm.weight", "encoder.layer.1.attention.output.LayerNorm.weight", "f32", 0),
        ("blk.0.ffn_up.weight", "encoder.layer.0.intermediate.dense.weight", weight_type, 0.005),
        ("blk.0.ffn_up.bias", "encoder.layer.0.intermediate.dense.bias", "f32", 0),
        ("blk.0.ffn_down.weight", "encoder.layer.0.output.dense.weight", weight_type, 0.005),
        ("blk.0.layer_output_norm.bias", "encoder.layer.0.output.LayerNorm.bias", "f32", 0),
    ):
        tensor = tensors[name]
        assert tensor.tensor_type.name.lower() == kind
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.abs(values - arrays[source].astype(np.float32)).max() <= tolerance, name


def test_rows_that_no_block_fits_become_f16(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    arrays = {
        name: array.reshape(-1)[: array.size // 32 * 24].reshape(*array.shape[:-1], 24)
        for name, array in bert_arrays().items()
        if "intermediate.dense.bias" not in name and "output.dense.weight" not in name
    }
    for layer in range(2):
        stem = f"encoder.layer.{layer}."
        arrays[f"{stem}attention.output.dense.weight"] = np.zeros((24, 24), np.float32)
        arrays[f"{stem}output.dense.weight"] = np.zeros((24, 64), np.float32)
        arrays[f"{stem}intermediate.dense.bias"] = np.zeros(64, np.float32)
        for part in ("query", "key", "value"):
            arrays[f"{stem}attention.self.{part}.weight"] = np.zeros((24, 24), np.float32)
    write_json(folder / "config.json", {**CONFIG, "hidden_size": 24})
    (folder / "model.safetensors").write_bytes(safetensors_bytes(arrays))
    convert(folder, tmp_path / "model.gguf", "q8_0")
    kinds = {each.name: each.type_name for each in read_header(tmp_path / "model.gguf").tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["blk.0.ffn_down.weight"]) == ("F16", "Q8_0")


def test_old_names_and_weights_without_use(tmp_path: Path) -> None:
    arrays = bert_arrays()
    convert(write_bert_folder(tmp_path / "new", arrays), tmp_path / "new.gguf", "f16")
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): array
        for name, array in arrays.items()
    }
    old["bert.pooler.dense.weight"] = np.zeros((32, 32), np.float32)
    old["cls.predictions.bias"] = np.zeros(12, np.float32)
    old["bert.embeddings.position_ids"] = np.arange(24, dtype=np.int64)
    convert(write_bert_folder(tmp_path / "old", old), tmp_path / "old.gguf", "f16")
    assert (tmp_path / "old.gguf").read_bytes() == (tmp_path / "new.gguf").read_bytes()


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    convert(folder, tmp_path / "one.gguf", "q8_0")
    convert(folder, tmp_path / "two.gguf", "q8_0")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_progress_counts_the_bytes_of_weights(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "model.gguf"
    convert(
        write_bert_folder(tmp_path / "folder"), target, "f16", lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1] == read_header(target).tensor_bytes


def test_an_interrupted_conversion_leaves_the_old_file(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    target = tmp_path / "model.gguf"
    target.write_bytes(b"the old one")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, target, "f16", interrupt)
    assert target.read_bytes() == b"the old one"
    assert sorted(os.listdir(tmp_path)) == ["folder", "model.gguf"]


def test_an_unwritable_target_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        convert(write_bert_folder(tmp_path / "folder"), tmp_path / "missing" / "model.gguf", "f16")


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [("pooling_mode_mean_tokens", 1), ("pooling_mode_cls_token", 2), ("pooling_mode_lasttoken", 3)],
)
def test_pooling(tmp_path: Path, pooling: str, kind: int) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    write_json(folder / "1_Pooling" / "config.json", {pooling: True, "word_embedding_dimension": 32})
    convert(folder, tmp_path / "model.gguf", "f16")
    assert read_header(tmp_path / "model.gguf").metadata["bert.pooling_type"] == kind


@pytest.mark.parametrize(
    ("tokenizer", "sentence", "lowercase", "strip_accents"),
    [
        ({"do_lower_case": True}, {}, True, True),
        ({"do_lower_case": False}, {}, False, False),
        ({"do_lower_case": False, "strip_accents": True}, {}, False, True),
        ({"do_lower_case": True, "strip_accents": False}, {}, True, False),
        ({"do_lower_case": False}, {"do_lower_case": True}, True, False),
        ({}, None, True, True),
    ],
)
def test_case_and_accents(
    tmp_path: Path,
    tokenizer: dict[str, object],
    sentence: dict[str, object] | None,
    lowercase: bool,
    strip_accents: bool,
) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    write_json(folder / "tokenizer_config.json", tokenizer)
    if sentence is None:
        (folder / "sentence_bert_config.json").unlink()
    else:
        write_json(folder / "sentence_bert_config.json", sentence)
    convert(folder, tmp_path / "model.gguf", "f16")
    metadata = read_header(tmp_path / "model.gguf").metadata
    assert metadata["tokenizer.ggml.normalizer.lowercase"] is lowercase
    assert metadata["tokenizer.ggml.normalizer.strip_accents"] is strip_accents


def _config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "config.json", {**CONFIG, **changes})


def _text(name: str, content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _missing(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _weights(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        arrays = dict(bert_arrays())
        change(arrays)
        (folder / "model.safetensors").write_bytes(safetensors_bytes(arrays))

    return rewrite


def _modules(*kinds: str) -> str:
    return json.dumps(
        [{"type": f"sentence_transformers.models.{kind}", "path": "1_Pooling"} for kind in kinds]
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing("config.json"), "config.json: cannot be read"),
        (_missing("vocab.txt"), "vocab.txt: cannot be read"),
        (_missing("model.safetensors"), "model.safetensors: cannot be read"),
        (_missing("modules.json"), "modules.json: cannot be read"),
        (_missing("tokenizer_config.json"), "tokenizer_config.json: cannot be read"),
        (_missing("1_Pooling/config.json"), "1_Pooling/config.json: cannot be read"),
        (_text("config.json", "{"), "config.json: cannot be converted: it is not JSON"),
        (_text("config.json", b"\xff\xff"), "config.json: cannot be converted: it is not JSON"),
        (_text("config.json", "[" * 100_000), "config.json: cannot be converted: it is not JSON"),
        (_text("config.json", "[]"), "expected a JSON object"),
        (_text("config.json", b" " * (17 << 20)), "longer than"),
        (_config(model_type="distilbert"), "model_type is 'distilbert'; only plain BERT"),
        (_config(model_type="xlm-roberta"), "model_type is 'xlm-roberta'"),
        (_config(hidden_act="relu"), "hidden_act is 'relu'"),
        (_config(hidden_act=["gelu"]), "hidden_act is"),
        (_config(position_embedding_type="relative_key"), "position_embedding_type"),
        (_config(is_decoder=True), "it is a decoder"),
        (_config(hidden_size="32"), "hidden_size is '32'"),
        (_config(hidden_size=0), "hidden_size is 0"),
        (_config(hidden_size=True), "hidden_size is True"),
        (_config(num_hidden_layers=1 << 40), "num_hidden_layers is 1099511627776"),
        (_config(num_attention_heads=5), "no multiple of 5 heads"),
        (_config(layer_norm_eps=-1), "layer_norm_eps is -1"),
        (_config(vocab_size=5), "it has 11 tokens, config.json announces 5"),
        (_text("vocab.txt", b"[PAD]\n\xff\n"), "vocab.txt: cannot be converted: it is not UTF-8"),
        (_text("vocab.txt", "[PAD]\n\na\n"), "line 2 is empty"),
        (_text("vocab.txt", "a\nb\n"), "cls_token is '\\[CLS\\]', which vocab.txt does not have"),
        (_text("tokenizer_config.json", '{"sep_token": {"content": "</s>"}}'), "sep_token is '</s>'"),
        (_text("tokenizer_config.json", '{"do_lower_case": "yes"}'), "do_lower_case is 'yes'"),
        (
            _text("tokenizer_config.json", '{"tokenize_chinese_chars": false}'),
            "tokenize_chinese_chars must be true",
        ),
        (_text("tokenizer_config.json", '{"do_basic_tokenize": false}'), "do_basic_tokenize must be true"),
        (_text("modules.json", "{}"), "expected a list of modules"),
        (_text("modules.json", _modules("Transformer")), "its modules are Transformer;"),
        (_text("modules.json", _modules("Transformer", "Pooling", "Dense")), "Transformer, Pooling, Dense"),
        (
            _text("modules.json", _modules("Transformer", "Pooling").replace("1_", "../")),
            "path is '../Pooling'",
        ),
        (_text("1_Pooling/config.json", "{}"), "exactly one of mean, cls"),
        (_text("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}'), "exactly one of mean, cls"),
        (
            _text(
                "1_Pooling/config.json", '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}'
            ),
            "exactly one of mean, cls",
        ),
        (_text("model.safetensors", b"\xff" * 64), "length is wrong"),
        (
            _weights(lambda arrays: arrays.pop("encoder.layer.1.output.dense.bias")),
            "output.dense.bias is missing",
        ),
        (
            _weights(lambda arrays: arrays.update({"embeddings.LayerNorm.bias": np.zeros(31, np.float32)})),
            r"embeddings.LayerNorm.bias is of shape \[31\], expected \[32\]",
        ),
        (
            _weights(lambda arrays: arrays.update({"encoder.layer.2.x": np.zeros(1, np.float32)})),
            "no plain BERT has encoder.layer.2.x",
        ),
        (
            _weights(
                lambda arrays: arrays.update({"bert.embeddings.LayerNorm.bias": np.zeros(32, np.float32)})
            ),
            "embeddings.LayerNorm.bias is there twice",
        ),
        (
            _weights(lambda arrays: arrays.update({"embeddings.LayerNorm.bias": np.zeros(32, np.int64)})),
            "is made of I64",
        ),
        (
            _weights(
                lambda arrays: arrays.update({"embeddings.LayerNorm.bias": np.full(32, np.nan, np.float32)})
            ),
            "not finite",
        ),
    ],
)
def test_what_is_no_plain_bert_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = write_bert_folder(tmp_path / "folder")
    damage(folder)
    with pytest.raises(ModelFileError, match=reason) as caught:
        convert(folder, tmp_path / "model.gguf", "q8_0")
    assert str(caught.value).startswith(str(folder))
    assert os.listdir(tmp_path) == ["folder"]
