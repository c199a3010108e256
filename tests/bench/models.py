"""The models that benchmarks run on, and the smallest request that shows that one answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KINDS = {"minilm": "embed", "smollm2": "generate", "gemma3-270m": "generate"}


@dataclass(frozen=True)
class BenchModel:
    """An installed model. `kind` is `embed` or `generate`."""

    id: str
    kind: str
    file: Path

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self.file.stat().st_size

    @property
    def endpoint(self) -> str:
        """Where its first answer comes from."""
        return "/v1/embeddings" if self.kind == "embed" else "/v1/completions"

    @property
    def request(self) -> dict[str, Any]:
        """One sentence to embed, or one token to generate."""
        if self.kind == "embed":
            return {"model": self.id, "input": "A man is eating food."}
        return {"model": self.id, "prompt": "The capital of France is", "max_tokens": 1, "temperature": 0}


def installed(model_dir: Path) -> list[BenchModel]:
    """The catalog's models that are in this folder, under the names that `edged pull` gives them."""
    models = [BenchModel(name, kind, model_dir / f"{name}.gguf") for name, kind in _KINDS.items()]
    return [model for model in models if model.file.is_file()]
