"""What repacking weights of one type gains on this CPU, by a tiny model that is run with and without it.

A process of its own, `python -m edged.runner.repack_gain WEIGHT_TYPE N_THREADS LEASE_FD`, at the lowest
priority and under the compute lease, so that it can be killed at any moment. Prints one JSON object, or
exits with `DISTURBED` where other processes left it too little of the cores.
"""

import os
import sys
import time
from collections.abc import Iterator

import gguf
import msgspec
import numpy as np

from edged.gguf.tensor_types import TENSOR_TYPES
from edged.runner.engine.lease import Lease
from edged.runner.model import Context
from edged.runner.trial import Trial

# 13 million weights: too many for a core's own cache in any type, as in real models, and few enough to
# measure in seconds on the slowest board. K-quants need rows of a multiple of 256.
N_EMBD, N_FF, N_LAYER, N_HEAD = 768, 2048, 2, 12
N_PROMPT, N_ANSWER = 128, 8
_N_VOCAB = 64
_PASSES = 3  # of each kind at least; the fastest counts, since what disturbs a measurement only adds to it
_ENOUGH_S = 1.0
_MOST_DISTURBED = 20  # turns, before it gives up
# llama.cpp's threads compute or spin all the time: with less of the cores than this, others had the rest.
_LEAST_CPU_SHARE = 0.85
DISTURBED = 75  # EX_TEMPFAIL of sysexits.h
# In every format the scales then are small ordinary numbers, whatever their place and width.
_ANY_BYTE = 0x11


class Speed(msgspec.Struct, kw_only=True):
    """The fastest pass over the tiny model."""

    prompt_s: float = float("inf")  # all of it
    answer_s: float = float("inf")  # each token

    def pass_over(self, context: Context, n_threads: int) -> bool:
        """Compute a prompt and some tokens of an answer; False: it was disturbed and does not count."""
        context.clear()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        context.compute([(0, 0, [n % _N_VOCAB for n in range(N_PROMPT)], 1)])
        prompted_s = time.perf_counter()
        for position in range(N_PROMPT, N_PROMPT + N_ANSWER):
            context.compute([(0, position, [1], 1)])
        ended_s = time.perf_counter()
        if time.process_time() - cpu_s < _LEAST_CPU_SHARE * n_threads * (ended_s - began_s):
            return False
        self.prompt_s = min(self.prompt_s, prompted_s - began_s)
        self.answer_s = min(self.answer_s, (ended_s - prompted_s) / N_ANSWER)
        return True


def main() -> int:
    """Measure and print; returns the exit code."""
    weight_type, n_threads, lease_fd = sys.argv[1:]
    os.nice(19)
    lease = Lease(int(lease_fd))
    file = os.memfd_create("edged-repack-gain")
    path = f"/proc/self/fd/{file}"
    write_model(path, weight_type)
    plain, repacked = (_context(path, repack, int(n_threads)) for repack in (False, True))
    found = measure(lease, plain, repacked, int(n_threads))
    if found is None:
        return DISTURBED
    print(msgspec.json.encode(found).decode(), flush=True)
    return 0


def measure(lease: Lease, plain: Context, repacked: Context, n_threads: int) -> dict[str, float] | None:
    """The ratios of speed (more than 1: repacking is faster), and what it costs without, for each weight.

    None: disturbed.
    """
    without, packed = Speed(), Speed()
    for context in (plain, repacked):  # once, to touch all pages
        with lease.held():
            Speed().pass_over(context, n_threads)
    began_s, n_good, n_bad = time.monotonic(), 0, 0
    while n_good < _PASSES or time.monotonic() - began_s < _ENOUGH_S:
        good = True
        for speed, context in ((without, plain), (packed, repacked)):
            with lease.held():
                good &= speed.pass_over(context, n_threads)
        n_good, n_bad = n_good + good, n_bad + (not good)
        if n_good < _PASSES and n_bad > _MOST_DISTURBED:
            return None
    return {
        "prompt_ratio": without.prompt_s / packed.prompt_s,
        "answer_ratio": without.answer_s / packed.answer_s,
        "prompt_s_per_weight": without.prompt_s / (N_PROMPT * _weights_of_a_prompt()),
        "answer_s_per_weight": without.answer_s / sum(n_in * n_out for _, n_in, n_out in _matrices()),
    }


def _matrices() -> Iterator[tuple[str, int, int]]:
    """Name, row length and rows of every weight matrix of the blocks."""
    for layer in range(N_LAYER):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", N_EMBD, N_EMBD
        yield f"blk.{layer}.ffn_gate.weight", N_EMBD, N_FF
        yield f"blk.{layer}.ffn_up.weight", N_EMBD, N_FF
        yield f"blk.{layer}.ffn_down.weight", N_FF, N_EMBD


def _weights_of_a_prompt() -> int:
    """Weights that meet every token: behind the last block's attention only the last token goes on."""
    last = f"blk.{N_LAYER - 1}."
    keys = {f"{last}attn_q.weight", f"{last}attn_k.weight", f"{last}attn_v.weight"}
    return sum(n_in * n_out for name, n_in, n_out in _matrices() if not name.startswith(last) or name in keys)


def write_model(path: str, weight_type: str) -> None:
    """A llama model whose weights mean nothing. Raises KeyError for a type that ggml does not have."""
    number, kind = {kind.name: (number, kind) for number, kind in TENSOR_TYPES.items()}[weight_type]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2 * N_PROMPT)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(_N_VOCAB)
    embeddings = np.random.default_rng(0).standard_normal((_N_VOCAB, N_EMBD)).astype(np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    for name in (
        "output_norm",
        *(f"blk.{n}.{norm}" for n in range(N_LAYER) for norm in ("attn_norm", "ffn_norm")),
    ):
        writer.add_tensor(f"{name}.weight", np.ones(N_EMBD, np.float32))
    for name, n_in, n_out in _matrices():
        rows = np.full((n_out, kind.n_bytes(n_in)), _ANY_BYTE, np.uint8)
        writer.add_tensor(name, rows, raw_dtype=gguf.GGMLQuantizationType(number))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _context(path: str, repack: bool, n_threads: int) -> Context:
    trial = Trial(
        kind="generate",
        n_ctx=2 * N_PROMPT,
        n_batch=N_PROMPT,
        n_seq_max=1,
        n_threads=n_threads,
        repack=repack,
    )
    return trial.context(path)


if __name__ == "__main__":
    sys.exit(main())
