"""llama-server's router under measurement: it loads models on demand and evicts the least recent by count."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.models import BenchModel
from tests.bench.peers import llama_server
from tests.bench.process import Launcher

_LOADED = "spawning server instance with name="
_EVICTED = ("removing LRU name=", "evicting idle LRU name=")


def preset(models: Sequence[BenchModel], plans: Mapping[str, Mapping[str, Any]]) -> str:
    """Its file of models: defaults, except that contexts are what edged plans on the same device."""
    sections = []
    for model in models:
        plan = plans[model.id]
        embeds = model.kind == "embed"
        slots = 1 if embeds else plan["n_seq_max"]
        settings = {
            "model": model.file,
            "ctx-size": plan["n_ctx"] * slots,
            "parallel": slots,
            "batch-size": plan["n_batch"],
            "ubatch-size": plan["n_ubatch"],
            "cache-type-k": plan["type_k"],
            "cache-type-v": plan["type_v"],
            **({"embeddings": "true"} if embeds else {}),
        }
        lines = [f"{key} = {value}" for key, value in settings.items()]
        sections.append("\n".join([f"[{model.id}]", *lines, ""]))
    return "\n".join(sections)


def start(
    launch: Launcher,
    folder: Path,
    models: Sequence[BenchModel],
    plans: Mapping[str, Mapping[str, Any]],
    models_max: int,
) -> llama_server.Server:
    """A router on a free port that holds at most so many models; `folder` gets its file of models."""
    file = folder / "models.ini"
    file.write_text(preset(models, plans))
    arguments = ["--models-preset", str(file), "--models-max", str(models_max), "--no-webui"]
    return llama_server.Server(launch, llama_server.binary(), arguments)


def loads(server: llama_server.Server) -> int:
    """How often it has loaded a model."""
    return server.process.said().count(_LOADED)


def evictions(server: llama_server.Server) -> int:
    """How often a model had to leave for another one."""
    said = server.process.said()
    return sum(said.count(line) for line in _EVICTED)
