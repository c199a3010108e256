"""The weight format of a converted model is measured with the real llama.cpp."""

from pathlib import Path

from edged.gguf.convert import convert
from edged.lifecycle.weights_speed import best_here


def test_formats_of_a_real_model_are_compared(minilm_folder: Path, tmp_path: Path) -> None:
    convert(minilm_folder, tmp_path / "q8_0", "q8_0")
    convert(minilm_folder, tmp_path / "bf16", "bf16")
    weights, reason = best_here(tmp_path)("q8_0", {"q8_0": tmp_path / "q8_0", "bf16": tmp_path / "bf16"})
    assert weights in reason
    assert "tokens/s" in reason, "it was measured"


def test_a_file_that_cannot_be_loaded_leaves_the_default(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"GGUF")
    weights, reason = best_here(tmp_path)("q8_0", {"q8_0": tmp_path / "bad", "bf16": tmp_path / "bad"})
    assert weights == "q8_0"
    assert "not known (measuring failed: CalledProcessError)" in reason
