"""Turns a sentence-transformers BERT folder into one GGUF file, with numpy and gguf alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import Literal, NamedTuple

import gguf
import numpy as np
from gguf.quants import quantize

from edged.errors import ModelFileError
from edged.gguf.bert_folder import BertSettings, Vocabulary, read_settings, read_vocabulary
from edged.gguf.safetensors import SafeTensors

WeightType = Literal["q8_0", "f16", "bf16"]
_TYPES = {
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}
_POOLING = {"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS, "last": gguf.PoolingType.LAST}
# Weights that the embedding graph has no use for.
_IGNORED = ("pooler.", "cls.", "embeddings.position_ids")
_OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}


class _Tensor(NamedTuple):
    source: str  # in the safetensors file
    name: str  # in the GGUF file
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType

    @property
    def n_bytes(self) -> int:
        block, block_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return int(np.prod(self.shape)) // block * block_bytes


def convert(
    folder: Path,
    target: Path,
    weight_type: WeightType,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `target` from the folder; the same folder gives the same bytes.

    `progress` is told the bytes of weights written and to be written. `target` appears complete or not at
    all. Raises ModelFileError for what is not a plain BERT or is damaged, OSError where it cannot be written.
    """
    settings = read_settings(folder)
    vocabulary = read_vocabulary(folder, settings.n_vocab)
    with SafeTensors(folder / "model.safetensors") as weights:
        plan = _plan(folder, settings, weights.shapes, weight_type)
        descriptor, name = mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(descriptor)
        part = Path(name)
        try:
            writer = gguf.GGUFWriter(part, "bert")
            _describe(writer, settings, weight_type)
            _add_vocabulary(writer, vocabulary)
            _write(writer, weights, plan, progress or (lambda _done, _total: None))
            _publish(part, target)
        except BaseException:  # an interrupt too leaves nothing behind
            part.unlink(missing_ok=True)
            raise


def _plan(
    folder: Path, settings: BertSettings, shapes: dict[str, tuple[int, ...]], weight_type: WeightType
) -> list[_Tensor]:
    """Which tensor goes where, in the order in which they are written."""
    path = folder / "model.safetensors"
    sources = _sources(path, shapes)
    plan = []
    for wanted, name, shape, is_weight in _wanted(settings):
        source = sources.pop(wanted, None)
        if source is None or shapes[source] != shape:
            found = "missing" if source is None else f"of shape {list(shapes[source])}"
            raise ModelFileError(f"{path}: cannot be converted: {wanted} is {found}, expected {list(shape)}")
        plan.append(_Tensor(source, name, shape, _kind(shape, weight_type if is_weight else None)))
    if sources:
        raise ModelFileError(f"{path}: cannot be converted: no plain BERT has {min(sources)}")
    return plan


def _sources(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """Plain names of the tensors that matter, and their names in the file."""
    sources: dict[str, str] = {}
    for source in shapes:
        plain = source.removeprefix("bert.")
        for old, new in _OLD_NAMES.items():
            if plain.endswith(old):
                plain = plain.removesuffix(old) + new
        if plain.startswith(_IGNORED):
            continue
        if plain in sources:
            raise ModelFileError(f"{path}: cannot be converted: {plain} is there twice")
        sources[plain] = source
    return sources


def _wanted(settings: BertSettings) -> Iterator[tuple[str, str, tuple[int, ...], bool]]:
    """Source name, GGUF name, shape, and whether it takes the wanted weight type, for all of a BERT."""
    embd, ff = settings.n_embd, settings.n_ff
    yield "embeddings.word_embeddings.weight", "token_embd.weight", (settings.n_vocab, embd), True
    # llama.cpp adds row 0 of the types and one row per position as float32.
    yield "embeddings.position_embeddings.weight", "position_embd.weight", (settings.n_positions, embd), False
    yield (
        "embeddings.token_type_embeddings.weight",
        "token_types.weight",
        (settings.n_token_types, embd),
        False,
    )
    yield "embeddings.LayerNorm.weight", "token_embd_norm.weight", (embd,), False
    yield "embeddings.LayerNorm.bias", "token_embd_norm.bias", (embd,), False
    parts = (
        ("attention.self.query", "attn_q", (embd, embd)),
        ("attention.self.key", "attn_k", (embd, embd)),
        ("attention.self.value", "attn_v", (embd, embd)),
        ("attention.output.dense", "attn_output", (embd, embd)),
        ("attention.output.LayerNorm", "attn_output_norm", (embd,)),
        ("intermediate.dense", "ffn_up", (ff, embd)),
        ("output.dense", "ffn_down", (embd, ff)),
        ("output.LayerNorm", "layer_output_norm", (embd,)),
    )
    for layer in range(settings.n_layer):
        for source, name, shape in parts:
            stem = f"encoder.layer.{layer}.{source}"
            yield f"{stem}.weight", f"blk.{layer}.{name}.weight", shape, len(shape) == 2
            yield f"{stem}.bias", f"blk.{layer}.{name}.bias", shape[:1], False


def _kind(shape: tuple[int, ...], weight_type: WeightType | None) -> gguf.GGMLQuantizationType:
    if weight_type is None:
        return gguf.GGMLQuantizationType.F32
    kind = _TYPES[weight_type][0]
    # A row that is no multiple of the block cannot be quantised.
    fits = shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
    return kind if fits else gguf.GGMLQuantizationType.F16


def _describe(writer: gguf.GGUFWriter, settings: BertSettings, weight_type: WeightType) -> None:
    writer.add_type("model")
    writer.add_name(settings.name)
    writer.add_file_type(_TYPES[weight_type][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(settings.n_layer)
    writer.add_context_length(settings.n_positions)
    writer.add_embedding_length(settings.n_embd)
    writer.add_feed_forward_length(settings.n_ff)
    writer.add_head_count(settings.n_head)
    writer.add_layer_norm_eps(settings.norm_epsilon)
    writer.add_causal_attention(False)
    writer.add_pooling_type(_POOLING[settings.pooling])
    writer.add_token_type_count(settings.n_token_types)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    ids = vocabulary.special_ids
    # llama.cpp begins every text with its bos token, which for BERT is [CLS].
    writer.add_bos_token_id(ids["cls"])
    writer.add_uint32("tokenizer.ggml.cls_token_id", ids["cls"])
    writer.add_sep_token_id(ids["sep"])
    writer.add_unk_token_id(ids["unk"])
    writer.add_pad_token_id(ids["pad"])
    writer.add_mask_token_id(ids["mask"])
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", vocabulary.lowercase)
    writer.add_bool("tokenizer.ggml.normalizer.strip_accents", vocabulary.strip_accents)


def _write(
    writer: gguf.GGUFWriter, weights: SafeTensors, plan: list[_Tensor], progress: Callable[[int, int], None]
) -> None:
    for tensor in plan:
        kind = np.dtype(np.float32)  # of what is described, not of what is stored: that is raw_dtype
        writer.add_tensor_info(tensor.name, tensor.shape, kind, tensor.n_bytes, raw_dtype=tensor.kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        done, total = 0, sum(tensor.n_bytes for tensor in plan)
        for tensor in plan:  # one at a time: the memory needed is that of the largest tensor
            writer.write_tensor_data(quantize(weights.read(tensor.source), tensor.kind))
            done += tensor.n_bytes
            progress(done, total)
    finally:
        writer.close()


def _publish(part: Path, target: Path) -> None:
    """Make the finished file visible under its name, so that not even a power cut shows half of it."""
    with open(part, "rb+") as file:
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
