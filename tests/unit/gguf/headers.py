"""Headers of the real models, as far as sizes depend on them, built without their files."""

from edged.gguf.header import GgufHeader, Scalar, TensorInfo
from edged.gguf.tensor_types import TYPES_BY_NAME


def tensor(name: str, kind: str, *dims: int) -> TensorInfo:
    """A tensor of that shape; its place is left to `header`."""
    n_elements = 1
    for dim in dims:
        n_elements *= dim
    return TensorInfo(name, kind, dims, 0, TYPES_BY_NAME[kind].n_bytes(n_elements))


def header(
    architecture: str,
    metadata: dict[str, Scalar],
    tensors: list[TensorInfo],
    array_lengths: dict[str, int] | None = None,
    arrays: dict[str, tuple[int | float | bool, ...]] | None = None,
) -> GgufHeader:
    """A header with the tensors in a row from byte 4096 on. Keys are given without the architecture."""
    placed = []
    offset = 4096
    for each in tensors:
        placed.append(TensorInfo(each.name, each.type_name, each.dims, offset, each.size_bytes))
        offset += -(-each.size_bytes // 32) * 32
    return GgufHeader(
        path="model.gguf",
        version=3,
        architecture=architecture,
        size_bytes=offset,
        alignment=32,
        tensor_data_offset=4096,
        tensors=tuple(placed),
        metadata={f"{architecture}.{key}": value for key, value in metadata.items()},
        arrays={f"{architecture}.{key}": values for key, values in (arrays or {}).items()},
        array_lengths={
            **(array_lengths or {}),
            **{f"{architecture}.{key}": len(values) for key, values in (arrays or {}).items()},
        },
        has_chat_template=False,
    )


def smollm2() -> GgufHeader:
    """SmolLM2-135M in Q4_1: grouped heads, a tied token table, byte pairs."""
    tensors = [tensor("token_embd.weight", "Q8_0", 576, 49152)]
    for layer in range(30):
        tensors += [
            tensor(f"blk.{layer}.attn_norm.weight", "F32", 576),
            tensor(f"blk.{layer}.ffn_down.weight", "Q4_1", 1536, 576),
            tensor(f"blk.{layer}.ffn_gate.weight", "Q4_1", 576, 1536),
            tensor(f"blk.{layer}.ffn_up.weight", "Q4_1", 576, 1536),
        ]
    return header(
        "llama",
        {
            "block_count": 30,
            "embedding_length": 576,
            "context_length": 8192,
            "feed_forward_length": 1536,
            "attention.head_count": 9,
            "attention.head_count_kv": 3,
        },
        [*tensors, tensor("output_norm.weight", "F32", 576)],
        {"tokenizer.ggml.tokens": 49152, "tokenizer.ggml.merges": 48900},
    )


def gemma3() -> GgufHeader:
    """Gemma 3 270M in Q4_K_M: five windowed layers to a full one, some weights in a type that is repacked."""
    tensors = [tensor("output_norm.weight", "F32", 640), tensor("token_embd.weight", "Q8_0", 640, 262144)]
    for layer in range(18):
        down = "Q4_K" if layer in (2, 3, 5, 6, 8, 9, 11, 12, 14) else "Q6_K"
        tensors += [
            tensor(f"blk.{layer}.attn_output.weight", "Q4_K", 1024, 640),
            tensor(f"blk.{layer}.attn_q.weight", "Q5_0", 640, 1024),
            tensor(f"blk.{layer}.ffn_down.weight", down, 2048, 640),
            tensor(f"blk.{layer}.ffn_gate.weight", "Q5_0", 640, 2048),
            tensor(f"blk.{layer}.ffn_up.weight", "Q5_0", 640, 2048),
        ]
    return header(
        "gemma3",
        {
            "block_count": 18,
            "embedding_length": 640,
            "context_length": 32768,
            "feed_forward_length": 2048,
            "attention.head_count": 4,
            "attention.head_count_kv": 1,
            "attention.key_length": 256,
            "attention.value_length": 256,
            "attention.sliding_window": 512,
        },
        tensors,
        {"tokenizer.ggml.tokens": 262144},
    )


def minilm() -> GgufHeader:
    """all-MiniLM-L6-v2 in Q8_0: an encoder."""
    tensors = [
        tensor("token_embd.weight", "Q8_0", 384, 30522),
        tensor("position_embd.weight", "F32", 384, 512),
        tensor("token_types.weight", "F32", 384, 2),
    ]
    for layer in range(6):
        tensors += [
            tensor(f"blk.{layer}.attn_q.weight", "Q8_0", 384, 384),
            tensor(f"blk.{layer}.ffn_up.weight", "Q8_0", 384, 1536),
            tensor(f"blk.{layer}.ffn_down.weight", "Q8_0", 1536, 384),
        ]
    return header(
        "bert",
        {
            "block_count": 6,
            "embedding_length": 384,
            "context_length": 512,
            "feed_forward_length": 1536,
            "attention.head_count": 12,
            "pooling_type": 1,
        },
        tensors,
        {"tokenizer.ggml.tokens": 30522},
    )


def cross_encoder(*, head: bool = True) -> GgufHeader:
    """MiniLM with a classifier; without its `head`, a file that only says that it ranks."""
    encoder = minilm()
    metadata = {key.removeprefix("bert."): value for key, value in encoder.metadata.items()}
    if not head:
        return header("bert", {**metadata, "pooling_type": 4}, [*encoder.tensors], encoder.array_lengths)
    del metadata["pooling_type"]
    tensors = [
        *encoder.tensors,
        tensor("cls.weight", "F32", 384, 384),
        tensor("cls.output.weight", "F32", 384, 1),
    ]
    return header("bert", metadata, tensors, encoder.array_lengths)
