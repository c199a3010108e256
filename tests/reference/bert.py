"""BERT's forward pass in float32, straight from a sentence-transformers folder, pooled to unit vectors."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.reference.wordpiece import WordPiece

Floats = npt.NDArray[np.float32]


class ReferenceBert:
    """One model, loaded whole."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self._n_layer: int = config["num_hidden_layers"]
        self._n_head: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self._weights = _load(folder / "model.safetensors")
        self.tokenizer = WordPiece((folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1])

    def embed(self, text: str) -> Floats:
        """The unit vector of one text."""
        return self.embed_tokens(self.tokenizer.encode(text))

    def embed_tokens(self, ids: list[int]) -> Floats:
        """The unit vector of one token list, special tokens included."""
        mean: Floats = self.hidden(ids).mean(axis=0, dtype=np.float32)
        return mean / np.float32(np.linalg.norm(mean))

    def hidden(self, ids: list[int]) -> Floats:
        """A vector for each of the tokens."""
        tables = "embeddings.{}_embeddings.weight"
        hidden = self._weights[tables.format("word")][ids]
        hidden = hidden + self._weights[tables.format("position")][: len(ids)]
        hidden = self._norm(hidden + self._weights[tables.format("token_type")][0], "embeddings.LayerNorm")
        for layer in range(self._n_layer):
            stem = f"encoder.layer.{layer}."
            hidden = self._norm(hidden + self._attention(hidden, stem), f"{stem}attention.output.LayerNorm")
            inner = _gelu(self._linear(hidden, f"{stem}intermediate.dense"))
            hidden = self._norm(
                hidden + self._linear(inner, f"{stem}output.dense"), f"{stem}output.LayerNorm"
            )
        return hidden

    def _attention(self, hidden: Floats, stem: str) -> Floats:
        n_tokens, width = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{stem}attention.self.{part}")
            .reshape(n_tokens, self._n_head, -1)
            .swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / np.sqrt(np.float32(width / self._n_head))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = weights / weights.sum(axis=-1, keepdims=True) @ value
        return self._linear(mixed.swapaxes(0, 1).reshape(n_tokens, width), f"{stem}attention.output.dense")

    def _linear(self, values: Floats, name: str) -> Floats:
        product: Floats = values @ self._weights[f"{name}.weight"].T
        return product + self._weights[f"{name}.bias"]

    def _norm(self, values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        normed: Floats = centred / scale
        return normed * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(values: Floats) -> Floats:
    """x * P(X <= x) for a normal X. Its error function after Abramowitz and Stegun 7.1.26, good to 1.5e-7."""
    x = np.abs(values.astype(np.float64)) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    powers = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(values) * (1.0 - powers * np.exp(-x * x))
    result: Floats = (values * 0.5 * (1.0 + erf)).astype(np.float32)
    return result


def _load(path: Path) -> dict[str, Floats]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    directory = json.loads(raw[8 : 8 + length])
    weights = {}
    for name, entry in directory.items():
        if entry.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            weights[name] = np.frombuffer(raw[start:end], np.float32).reshape(entry["shape"])
    return weights
