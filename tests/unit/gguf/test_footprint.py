"""Predicted sizes against what llama.cpp logged and what the kernel counted for the real models."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edged.gguf.footprint import ContextSettings, footprint
from edged.gguf.header import GgufHeader, read_header
from tests.gguf_files import write_tiny_gguf
from tests.unit.gguf.headers import gemma3, header, minilm, smollm2, tensor

_MIB = 1 << 20
_X86 = ("avx2", "fma", "avx512f")


def _packed(*, n_ctx: int, n_seq_max: int, n_ubatch: int, **others: bool) -> ContextSettings:
    return ContextSettings(
        n_ctx=n_ctx,
        n_seq_max=n_seq_max,
        n_ubatch=n_ubatch,
        repack=True,
        instruction_sets=_X86,
        kv_unified=others.get("kv_unified", False),
        swa_full=others.get("swa_full", False),
    )


# Each row: what llama.cpp logged for its KV, compute and output buffers, and the process's RssAnon after a
# full batch from which nothing was sampled, all in MiB.
@pytest.mark.parametrize(
    ("model", "settings", "kv", "compute", "output", "anon"),
    [
        (smollm2(), ContextSettings(n_ctx=2048, n_seq_max=1, n_ubatch=512), 45.0, 15.51, 0.19, 99.6),
        (smollm2(), ContextSettings(n_ctx=4096, n_seq_max=4, n_ubatch=512), 360.0, 17.51, 0.75, 415.7),
        (
            smollm2(),
            ContextSettings(n_ctx=4096, n_seq_max=4, n_ubatch=128, kv_unified=True),
            *(360.0, 7.38, 0.75, 404.6),
        ),
        (
            smollm2(),
            ContextSettings(n_ctx=8192, n_seq_max=1, n_ubatch=128, type_k="q8_0", type_v="q8_0"),
            *(95.62, 5.13, 0.19, 139.5),
        ),
        (smollm2(), ContextSettings(n_ctx=1000, n_seq_max=3, n_ubatch=64), 67.5, 1.87, 0.56, 109.6),
        (
            smollm2(),
            ContextSettings(n_ctx=2048, n_seq_max=2, n_ubatch=256, type_k="q4_0", type_v="q8_0"),
            *(36.56, 7.22, 0.38, 83.7),
        ),
        (smollm2(), ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=2048), 11.25, 14.01, 0.19, 65.3),
        (gemma3(), ContextSettings(n_ctx=2048, n_seq_max=1, n_ubatch=512), 21.0, 20.77, 1.0, 106.6),
        (gemma3(), _packed(n_ctx=4096, n_seq_max=4, n_ubatch=512), 108.0, 22.77, 4.0, 210.3),
        (gemma3(), _packed(n_ctx=1000, n_seq_max=3, n_ubatch=64), 42.75, 3.17, 3.0, 126.6),
        (gemma3(), _packed(n_ctx=2048, n_seq_max=1, n_ubatch=256, swa_full=True), 36.0, 10.88, 1.0, 124.9),
        (gemma3(), _packed(n_ctx=4096, n_seq_max=4, n_ubatch=128, kv_unified=True), 81.75, 9.0, 4.0, 169.9),
        (gemma3(), _packed(n_ctx=2048, n_seq_max=1, n_ubatch=2048), 36.0, 87.08, 1.0, 202.8),
        # For an encoder the log names only the first output buffer; it grows with the first batch.
        (minilm(), ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=512), 0.0, 5.76, None, 93.8),
        (minilm(), ContextSettings(n_ctx=512, n_seq_max=8, n_ubatch=192), 0.0, 2.05, None, 52.1),
        (minilm(), ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=128), 0.0, 1.35, None, 43.9),
    ],
)
def test_buffers_are_those_that_llama_cpp_reported(
    model: GgufHeader, settings: ContextSettings, kv: float, compute: float, output: float | None, anon: float
) -> None:
    sizes = footprint(model, settings)
    assert sizes.kv_bytes / _MIB == pytest.approx(kv, abs=0.006)
    assert sizes.compute_bytes / _MIB == pytest.approx(compute, rel=0.1)
    if output is not None:
        assert sizes.output_bytes / _MIB == pytest.approx(output, abs=0.006)
    assert (sizes.anon_bytes - sizes.sampling_bytes) / _MIB == pytest.approx(anon, rel=0.05)


def test_one_list_of_all_tokens_serves_every_slot() -> None:
    settings = ContextSettings(n_ctx=1024, n_seq_max=1, n_ubatch=512)
    alone, four = (footprint(gemma3(), msgspec.structs.replace(settings, n_seq_max=n)) for n in (1, 4))
    assert alone.sampling_bytes == four.sampling_bytes == 5 * _MIB
    assert footprint(minilm(), ContextSettings(n_ctx=512, n_seq_max=4, n_ubatch=512)).sampling_bytes == 0


def test_a_decoder_that_embeds_pays_for_logits_of_every_token() -> None:
    """128 tokens of Gemma 3 in embedding mode: llama.cpp logged a compute buffer of 128.76 MiB."""
    plain = gemma3()
    model = header(
        "gemma3",
        {key.removeprefix("gemma3."): value for key, value in plain.metadata.items()} | {"pooling_type": 3},
        list(plain.tensors),
        dict(plain.array_lengths),
    )
    sizes = footprint(model, _packed(n_ctx=128, n_seq_max=1, n_ubatch=128))
    assert sizes.compute_bytes / _MIB == pytest.approx(128.76, rel=0.01)
    assert sizes.anon_bytes / _MIB == pytest.approx(339.6, rel=0.05)


def test_repacked_weights_move_from_the_file_to_anonymous_memory() -> None:
    settings = ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=64, instruction_sets=_X86)
    plain = footprint(gemma3(), settings)
    packed = footprint(gemma3(), _packed(n_ctx=512, n_seq_max=1, n_ubatch=64))
    assert (plain.repack_bytes, plain.file_bytes) == (0, gemma3().tensor_bytes)
    assert packed.repack_bytes == 12.65625 * _MIB  # as llama.cpp logged for CPU_REPACK
    assert packed.file_bytes == plain.file_bytes - packed.repack_bytes
    assert packed.anon_bytes == plain.anon_bytes + packed.repack_bytes


def test_a_tied_table_that_is_repacked_stays_in_the_file_as_well() -> None:
    model = gemma3()  # its table is Q8_0, which Arm repacks
    arm = ContextSettings(
        n_ctx=512, n_seq_max=1, n_ubatch=64, repack=True, instruction_sets=("asimd", "asimddp")
    )
    table = model.tensor("token_embd.weight")
    assert table is not None
    sizes = footprint(model, arm)
    assert sizes.repack_bytes > table.size_bytes
    assert sizes.weights_bytes == model.tensor_bytes - sizes.repack_bytes + table.size_bytes


def test_anon_is_the_sum_of_its_kinds() -> None:
    sizes = footprint(smollm2(), ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=64))
    assert sizes.anon_bytes == (
        sizes.repack_bytes
        + sizes.kv_bytes
        + sizes.compute_bytes
        + sizes.output_bytes
        + sizes.sampling_bytes
        + sizes.vocabulary_bytes
        + sizes.process_bytes
    )


def test_what_a_load_showed_replaces_what_is_fitted() -> None:
    settings = ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=64)
    fitted = footprint(smollm2(), settings)
    measured = footprint(smollm2(), settings, fitted.base_bytes + _MIB)
    assert measured.base_bytes == fitted.base_bytes + _MIB
    assert measured.anon_bytes == fitted.anon_bytes + _MIB
    assert footprint(smollm2(), settings, 1).process_bytes == 0


def test_smaller_settings_never_take_more() -> None:
    sizes = [
        footprint(gemma3(), ContextSettings(n_ctx=n_ctx, n_seq_max=n_seq, n_ubatch=n_ubatch)).anon_bytes
        for n_ctx, n_seq, n_ubatch in [
            (8192, 8, 512),
            (8192, 8, 128),
            (8192, 4, 128),
            (2048, 4, 128),
            (512, 1, 64),
        ]
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_experts_are_counted_by_how_many_work_at_once() -> None:
    shape = {"block_count": 1, "embedding_length": 512, "context_length": 64, "feed_forward_length": 1024}
    gate = tensor("blk.0.ffn_gate.weight", "F32", 512, 1024)
    settings = ContextSettings(n_ctx=512, n_seq_max=1, n_ubatch=512)
    dense = footprint(header("llama", {**shape}, [gate]), settings)
    mixture = footprint(
        header("llama", {**shape, "expert_used_count": 4, "expert_feed_forward_length": 512}, [gate]),
        settings,
    )
    assert mixture.compute_bytes - dense.compute_bytes == 4 * 512 * (3 * 1024 + 4 * 512)


_LOG_OF_A_CONTEXT = """
import ctypes, sys
from llama_cpp import llama_cpp as api

@api.llama_log_callback
def log(level, text, data):
    sys.stdout.write(text.decode())

api.llama_log_set(log, ctypes.c_void_p(0))
api.llama_backend_init()
model = api.llama_model_load_from_file(sys.argv[1].encode(), api.llama_model_default_params())
params = api.llama_context_default_params()
params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = 3 * 500, 3, 512, 64
params.n_outputs_max = 3
params.type_k = 8
context = api.llama_init_from_model(model, params)
api.llama_free(context)
api.llama_model_free(model)
"""


def test_the_installed_llama_cpp_still_sizes_its_cache_so(tmp_path: Path) -> None:
    """The figures above are of one version; this asks the one that is installed."""
    model = write_tiny_gguf(tmp_path / "tiny.gguf", n_layer=4, n_embd=256)
    done = subprocess.run(
        [sys.executable, "-c", _LOG_OF_A_CONTEXT, str(model)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    logged = re.search(r"KV buffer size = +([0-9.]+) MiB", done.stdout)
    assert logged is not None, done.stdout
    settings = ContextSettings(n_ctx=500, n_seq_max=3, n_ubatch=64, type_k="q8_0")
    sizes = footprint(read_header(model), settings)
    assert sizes.kv_bytes / _MIB == pytest.approx(float(logged[1]), abs=0.006)
    assert sizes.kv_bytes > _MIB


def test_drafted_tokens_have_logits_of_their_own() -> None:
    plain = ContextSettings(n_ctx=1024, n_seq_max=4, n_ubatch=512)
    drafting = ContextSettings(n_ctx=1024, n_seq_max=4, n_ubatch=512, n_drafts=7)
    more_bytes = footprint(gemma3(), drafting).output_bytes - footprint(gemma3(), plain).output_bytes
    assert more_bytes == 4 * _MIB, (
        "a row for each of eight tokens: one with seven drafted, or four slots with one each"
    )
