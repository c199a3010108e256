"""A real model in Q4_0, which most CPUs have repacking kernels for: made from another one by llama.cpp."""

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as llama

_MOSTLY_Q4_0 = 2


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes' own
def _say_nothing(_level: int, _text: bytes, _user: Any) -> None:
    return


def cached_q4_0(source: Path) -> Path:
    """`source` in Q4_0, made once in the user's cache. Its answers are somewhat worse, its speed is real."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged" / "tests"
    facts = source.stat()
    name = hashlib.sha256(f"{source.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:12]
    made = cache / f"{source.stem}-q4_0-{name}.gguf"
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.part")
        llama.llama_log_set(_say_nothing, None)
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.allow_requantize, params.quantize_output_tensor = _MOSTLY_Q4_0, True, False
        failed = llama.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(params))
        assert not failed, f"llama.cpp cannot quantize {source}"
        part.replace(made)
    return made
