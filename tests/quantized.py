"""A real model in another format: made from the one that is there by llama.cpp."""

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from llama_cpp import llama_cpp as llama

from tests.synthetic_gguf import cache_folder

_FTYPES = {"q4_0": 2, "q8_0": 7}  # llama_ftype


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes' own
def _say_nothing(_level: int, _text: bytes, _user: Any) -> None:
    return


def cached_q4_0(source: Path) -> Path:
    """`source` in Q4_0, made once in the user's cache. Its answers are somewhat worse, its speed is real."""
    return cached_as("q4_0", source)


def cached_as(kind: Literal["q4_0", "q8_0"], source: Path) -> Path:
    """`source` in another format, likewise."""
    facts = source.stat()
    name = hashlib.sha256(f"{source.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:12]
    made = cache_folder() / f"{source.stem}-{kind}-{name}.gguf"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.part")
        llama.llama_log_set(_say_nothing, None)
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.allow_requantize, params.quantize_output_tensor = _FTYPES[kind], True, False
        failed = llama.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(params))
        assert not failed, f"llama.cpp cannot quantize {source}"
        part.replace(made)
    return made
