"""A cross-encoder without a download: MiniLM's weights with a classifier of seeded noise on top.

Its scores mean nothing, but depend on every word of query and document. The file says nothing of pooling, as
those of real cross-encoders, whose converter leaves that out.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

_SEED = 7
_SPREAD = 0.1  # of the head's weights: scores between -3 and 3 then


def head(n_embd: int) -> dict[str, npt.NDArray[np.float32]]:
    """The classifier's tensors, by their names in the file; matrices as (outputs, inputs)."""
    source = np.random.default_rng(_SEED)
    shapes: dict[str, tuple[int, ...]] = {
        "cls.weight": (n_embd, n_embd),
        "cls.bias": (n_embd,),
        "cls.output.weight": (1, n_embd),
        "cls.output.bias": (1,),
    }
    return {name: source.normal(0, _SPREAD, shape).astype(np.float32) for name, shape in shapes.items()}


def write_cross_encoder(bert: Path, target: Path, **metadata: int | str) -> Path:
    """`target` from a GGUF of a BERT; `metadata` is added, with `__` for the dots of keys."""
    reader = gguf.GGUFReader(bert)
    writer = gguf.GGUFWriter(target, "bert")
    left_out = {"general.architecture", "bert.pooling_type"}
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in left_out:
            value_type, *inner = field.types
            writer.add_key_value(field.name, field.contents(), value_type, inner[-1] if inner else None)
    for key, value in metadata.items():
        name = key.replace("__", ".")
        writer.add_string(name, value) if isinstance(value, str) else writer.add_uint32(name, value)
    tensors: list[tuple[str, Any, gguf.GGMLQuantizationType]] = [
        *((each.name, each.data, each.tensor_type) for each in reader.tensors),
        *((name, each, gguf.GGMLQuantizationType.F32) for name, each in head(_n_embd(reader)).items()),
    ]
    for name, values, kind in tensors:
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _n_embd(reader: gguf.GGUFReader) -> int:
    field = reader.get_field("bert.embedding_length")
    assert field is not None
    return int(field.contents())
