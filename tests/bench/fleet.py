"""Ten models for a box that can hold two or three: real ones in several formats, and two of random weights.

Each is a file of its own, so that the page cache counts them apart and nobody else has one of them mapped.
They are made once, in the user's cache.
"""

import shutil
from pathlib import Path

from tests import synthetic_gguf
from tests.bench.models import BenchModel
from tests.quantized import cached_as
from tests.synthetic_gguf import Shape

N_CTX = 2048
_OLD = Shape(n_layer=20, n_embd=1024, n_ff=4096, n_head=4, n_head_kv=2, n_vocab=32_000)
_ARCHIVE = Shape(n_layer=18, n_embd=1536, n_ff=9216, n_head=8, n_head_kv=4, n_vocab=64_000)


def fleet(folder: Path) -> dict[str, BenchModel]:
    """The ten, by the names that traces use. `folder` holds what `edged pull` has put there."""
    minilm, smollm2, gemma = (folder / f"{name}.gguf" for name in ("minilm", "smollm2", "gemma3-270m"))
    files = {
        "search": copied(minilm, "search"),
        "tags": copied(minilm, "tags"),
        "chat": copied(smollm2, "chat"),
        "chat-small": cached_as("q4_0", smollm2),
        "chat-exact": cached_as("q8_0", smollm2),
        "writer": copied(gemma, "writer"),
        "writer-fast": cached_as("q4_0", gemma),
        "writer-exact": cached_as("q8_0", gemma),
        "old": synthetic_gguf.cached(_OLD, "fleet-old"),
        "archive": synthetic_gguf.cached(_ARCHIVE, "fleet-archive"),
    }
    return {
        name: BenchModel(name, "embed" if name in ("search", "tags") else "generate", file)
        for name, file in files.items()
    }


def copied(source: Path, name: str) -> Path:
    """A copy of a file under another name."""
    copy = synthetic_gguf.cache_folder() / f"fleet-{name}.gguf"
    if not copy.is_file() or copy.stat().st_size != source.stat().st_size:
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix(".part")
        shutil.copyfile(source, part)
        part.replace(copy)
    return copy
