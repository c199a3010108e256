"""The made-up large model is one that llama.cpp runs: checked in small."""

import subprocess
import sys
from pathlib import Path

import pytest

from edged.gguf.header import read_header
from tests.synthetic_gguf import Shape, cached

_SMALL = Shape(n_layer=2, n_embd=256, n_ff=512, n_head=2, n_head_kv=1, head_width=128, n_vocab=3000)
_COMPUTE = """
import sys
import numpy as np
from llama_cpp import llama_cpp as api

api.llama_backend_init()
model = api.llama_model_load_from_file(sys.argv[1].encode(), api.llama_model_default_params())
context = api.llama_init_from_model(model, api.llama_context_default_params())
vocab = api.llama_model_get_vocab(model)
text, tokens = b"bada zuvo", (api.llama_token * 32)()
count = api.llama_tokenize(vocab, text, len(text), tokens, 32, True, False)
assert api.llama_decode(context, api.llama_batch_get_one(tokens, count)) == 0
logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, count - 1), (3000,))
print(list(tokens[:count]), bool(np.isfinite(logits).all()), bool(logits.std() > 0.01))
api.llama_free(context)
api.llama_model_free(model)
"""


def test_llama_cpp_reads_it_and_computes_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cached(_SMALL, "small")
    assert read_header(path).n_vocab == 3000
    done = subprocess.run(
        [sys.executable, "-c", _COMPUTE, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    tokens, rest = done.stdout.rsplit("] ", 1)
    assert rest.split() == ["True", "True"]
    assert tokens.startswith("[2, ")  # <bos>
    assert tokens.count(",") < len("bada zuvo"), "words are tokens"


def test_it_is_made_once_and_again_when_it_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cached(_SMALL, "small")
    content, made = path.read_bytes(), path.stat().st_mtime_ns
    assert cached(_SMALL, "small").stat().st_mtime_ns == made
    path.write_bytes(content[:-1])
    assert cached(_SMALL, "small").read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
