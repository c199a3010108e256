"""Makes tiny sentence-transformers BERT folders."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[np.generic]]
_DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}

CONFIG: dict[str, object] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "_name_or_path": "someone/tiny-bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "vocab_size": 12,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "walk", "##ing", "##", "\u2028"]


def safetensors_bytes(arrays: Arrays) -> bytes:
    """A file of these arrays; uint16 stands for bfloat16."""
    directory: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        raw = array.tobytes()
        directory[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    head = json.dumps(directory).encode()
    return struct.pack("<Q", len(head)) + head + data


def bert_arrays() -> dict[str, npt.NDArray[np.generic]]:
    """All weights of the tiny BERT, noise that is the same every time."""
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (12, 32),
        "embeddings.position_embeddings.weight": (24, 32),
        "embeddings.token_type_embeddings.weight": (2, 32),
        "embeddings.LayerNorm.weight": (32,),
        "embeddings.LayerNorm.bias": (32,),
    }
    for layer in range(2):
        stem = f"encoder.layer.{layer}."
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ):
            shapes |= {f"{stem}{name}.weight": (32, 32), f"{stem}{name}.bias": (32,)}
        shapes |= {f"{stem}intermediate.dense.weight": (64, 32), f"{stem}intermediate.dense.bias": (64,)}
        shapes |= {f"{stem}output.dense.weight": (32, 64), f"{stem}output.dense.bias": (32,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{stem}{name}.weight": (32,), f"{stem}{name}.bias": (32,)}
    return {name: random.normal(0.0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def write_bert_folder(folder: Path, arrays: Arrays | None = None) -> Path:
    """A complete folder."""
    folder.mkdir(exist_ok=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "strip_accents": None})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    modules = [
        {"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")
    ]
    write_json(folder / "modules.json", [modules[0], {**modules[1], "path": "1_Pooling"}, modules[2]])
    write_json(
        folder / "1_Pooling" / "config.json",
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    )
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors_bytes(bert_arrays() if arrays is None else arrays))
    return folder


def write_json(path: Path, value: object) -> None:
    """One settings file."""
    path.write_text(json.dumps(value), encoding="utf-8")
