"""llama.cpp's models and contexts. One thread owns a `Context`: two in one context end the process."""

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as llama

from edged.errors import ComputeFailed, ModelFileError
from edged.runner.batch import Batch, pointer_to
from edged.runner.cores import IdleCores
from edged.runner.engine.candidates import Logits
from edged.runner.engine.threads import Threads
from edged.runner.mapping import let_go
from edged.runner.protocol import Start
from edged.runner.vocabulary import Vocabulary

_GGML_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
_LOG_WARN = 3
_logits_address = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(
    ("llama_get_logits_ith", llama._lib)  # as a number: a ctypes pointer costs more than all else here
)


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes' own
def _log(level: int, text: bytes, _user: Any) -> None:
    if level >= _LOG_WARN and text.strip(b". \n"):
        sys.stderr.write(text.decode("utf-8", "replace"))
        sys.stderr.flush()


class Model:
    """A model's weights (mapped) and vocabulary."""

    def __init__(self, start: Start) -> None:
        """Map and check the file. Raises ModelFileError when llama.cpp refuses it."""
        llama.llama_log_set(_log, None)
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        params.use_extra_bufts = start.repack
        self._model = llama.llama_model_load_from_file(start.path.encode(), params)
        if not self._model:
            raise ModelFileError(
                f"{start.path}: llama.cpp cannot load this file (its messages are in the log)"
            )
        let_go(start.path, start.replaced)
        self.vocabulary = Vocabulary(self._model)
        self.n_embd: int = llama.llama_model_n_embd_out(self._model)
        self.n_scores: int = llama.llama_model_n_cls_out(self._model)
        self.n_ctx_train: int = llama.llama_model_n_ctx_train(self._model)
        self.is_recurrent = bool(
            llama.llama_model_is_recurrent(self._model) or llama.llama_model_is_hybrid(self._model)
        )
        self.n_swa: int = llama.llama_model_n_swa(self._model)
        template = llama.llama_model_chat_template(self._model, None)
        self.chat_template: str | None = template.decode("utf-8", "replace") if template else None
        template = llama.llama_model_chat_template(self._model, b"rerank")
        self.rank_template: str | None = template.decode("utf-8", "replace") if template else None

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer."""
        return self._model

    def close(self) -> None:
        """Unmap. The context must be closed before."""
        llama.llama_model_free(self._model)
        self._model = None


class Context:
    """A llama.cpp context and one preallocated batch."""

    def __init__(self, model: Model, start: Start, abort_flag: ctypes.c_int) -> None:
        """Raises ModelFileError when the context cannot be made (usually memory)."""
        generate = start.kind == "generate"
        params = llama.llama_context_default_params()
        params.n_ctx = start.n_ctx * start.n_seq_max if generate else max(start.n_ctx, start.n_batch)
        params.n_batch, params.n_ubatch = start.n_batch, start.n_ubatch
        params.n_seq_max = start.n_seq_max
        # the output buffer holds a row of logits per output: per slot or drafted token, not per batch token
        params.n_outputs_max = max(start.n_seq_max, 1 + start.max_draft_tokens) if generate else 0
        params.n_threads = params.n_threads_batch = start.n_threads
        params.type_k, params.type_v = _GGML_TYPES[start.type_k], _GGML_TYPES[start.type_v]
        params.embeddings = not generate
        if start.kind == "rank":
            params.pooling_type = llama.LLAMA_POOLING_TYPE_RANK  # most files of cross-encoders do not say so
        params.kv_unified = not generate
        params.swa_full = False  # sliding-window layers keep their window, not all of n_ctx
        params.no_perf = True
        self._model, self._params, self._abort_flag, self._path = model, params, abort_flag, start.path
        self._open()
        self._n_swa, self._is_recurrent = model.n_swa, model.is_recurrent
        self._n_vocab = model.vocabulary.size
        self._n_pooled = model.n_scores if start.kind == "rank" else model.n_embd
        self._batch = Batch(start.n_batch, all_outputs=not generate)
        self.n_ctx = min(start.n_ctx, llama.llama_n_ctx_seq(self._context))
        self.n_batch, self.n_seq_max = start.n_batch, start.n_seq_max
        self.pools = llama.llama_pooling_type(self._context) != llama.LLAMA_POOLING_TYPE_NONE
        self._threads = Threads(start.n_threads) if start.adapt_threads and start.n_threads > 1 else None
        self._idle_cores = IdleCores()
        self._views: dict[int, Logits] = {}

    def _open(self) -> None:
        """Have llama.cpp make the context. Raises ModelFileError."""
        params = self._params
        self._context = llama.llama_init_from_model(self._model.handle, params)
        if not self._context:
            raise ModelFileError(
                f"{self._path}: llama.cpp cannot make a context of {params.n_ctx} tokens"
                " (lower n_ctx or n_seq_max; its messages are in the log)"
            )
        self._memory = llama.llama_get_memory(self._context)
        self._n_threads = params.n_threads
        self.settled = True  # no copy waits for the next computation, which makes it
        self._let_abort()

    def _let_abort(self) -> None:
        """Let a non-zero flag stop a computation between two graph nodes, where lazymap was preloaded."""
        callback = getattr(ctypes.CDLL(None), "edged_abort_requested", None)
        if callback is not None:
            as_pointer = ctypes.cast(callback, llama.ggml_abort_callback)
            # llama.cpp keeps the flag's address
            llama.llama_set_abort_callback(self._context, as_pointer, ctypes.byref(self._abort_flag))

    def rest(self) -> None:
        """Give the memory back; every sequence is forgotten. Nothing but `wake` and `close` may follow."""
        self.close()
        self._views.clear()

    def wake(self) -> None:
        """Make the context again, if it rests. Raises ModelFileError when there is no memory for it."""
        if self._context is None:
            self._open()

    def compute(self, rows: Sequence[tuple[int, int, Sequence[int], int]]) -> bool:
        """Run `rows` of (sequence, first position, tokens, how many last ones give outputs). False: aborted.

        Raises ComputeFailed when llama.cpp refuses the batch; the rows' sequences must then be cleared.
        """
        result = self._decode(self._batch.fill(rows))
        if result not in (0, 2):
            raise ComputeFailed(f"llama.cpp could not compute the batch (code {result})")
        self.settled = True
        return result == 0

    def _decode(self, batch: Any) -> int:
        threads = self._threads
        if threads is None:
            return int(llama.llama_decode(self._context, batch))
        begin_s = time.monotonic()
        n_threads = threads.next(batch.n_tokens, begin_s)
        if n_threads != self._n_threads:
            llama.llama_set_n_threads(self._context, n_threads, n_threads)
            self._n_threads = n_threads
        result = int(llama.llama_decode(self._context, batch))
        now_s = time.monotonic()
        threads.record(batch.n_tokens, now_s - begin_s, now_s)
        if threads.below_most and (cores := self._idle_cores.since(now_s)) is not None:
            threads.idle(cores)
        return result

    def logits_are_finite(self, index: int) -> bool:
        """Whether batch token `index` has real logits: a damaged file gives NaN, or nothing but 0."""
        row = self.logits(index)
        return bool(np.isfinite(row).all() and row.any())

    def embedding(self, sequence: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The pooled vector of one sequence, or its scores, as llama.cpp left it: not normalised."""
        pointer = llama.llama_get_embeddings_seq(self._context, sequence)
        return np.ctypeslib.as_array(pointer, (self._n_pooled,)).copy()

    def keep(self, sequence: int, n_tokens: int) -> int:
        """Drop a sequence's KV cells from position `n_tokens` on; returns how many could be kept (or 0).

        Where not all cells are there that are needed to continue, all go.
        """
        if self._memory is None:
            return 0
        there = n_tokens > 0 and self.holds(sequence, n_tokens)
        if there and llama.llama_memory_seq_rm(self._memory, sequence, n_tokens, -1):
            return n_tokens
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def holds(self, sequence: int, n_tokens: int) -> bool:
        """Whether a sequence can be continued after its first `n_tokens`.

        Sliding-window layers no longer hold old cells, and recurrent states cannot be cut.
        """
        if self._is_recurrent:
            return bool(llama.llama_memory_seq_pos_max(self._memory, sequence) == n_tokens - 1)
        oldest = llama.llama_memory_seq_pos_min(self._memory, sequence)
        return not self._n_swa or bool(0 <= oldest <= max(0, n_tokens - self._n_swa))

    def clear(self) -> None:
        """Forget every sequence."""
        if self._memory is not None:
            llama.llama_memory_clear(self._memory, False)

    def copy(self, source: int, target: int) -> None:
        """Make all KV cells of `target` those of `source`.

        llama.cpp moves them when it next computes, copies in their order and before anything else; what
        is restored or saved before would be overwritten, or be what the cells held before.
        """
        self.settled = False
        llama.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def save(self, sequence: int) -> bytes:
        """All KV cells of a sequence; none while `settled` does not hold."""
        if not self.settled:
            return b""
        size = llama.llama_state_seq_get_size(self._context, sequence)
        cells = np.empty(size, np.uint8)
        pointer = pointer_to(cells, ctypes.c_uint8)
        written = llama.llama_state_seq_get_data(self._context, pointer, size, sequence)
        return cells[:written].tobytes()

    def restore(self, sequence: int, cells: memoryview) -> bool:
        """Make `cells` what a sequence holds; False: they do not fit, and it holds nothing.

        Only while `settled` holds.
        """
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        array = np.frombuffer(cells, np.uint8)
        pointer = pointer_to(array, ctypes.c_uint8)
        if llama.llama_state_seq_set_data(self._context, pointer, len(array), sequence) == len(array):
            return True
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def logits(self, index: int) -> Logits:
        """What batch token `index` says of every token; a view that the next computation overwrites."""
        address = _logits_address(self._context, index)
        if address is None:
            raise ComputeFailed(f"llama.cpp has no logits of batch token {index}")
        view = self._views.get(address)  # the same few rows at every step; to make a view takes 30 us
        if view is None:
            memory = (ctypes.c_float * self._n_vocab).from_address(address)
            view = self._views[address] = np.ctypeslib.as_array(memory)
        return view

    def close(self) -> None:
        """Give the memory back."""
        llama.llama_free(self._context)
        self._context = None


def cells_key(start: Start) -> str:
    """All that KV cells depend on: the file, the settings, llama.cpp itself."""
    facts = os.stat(start.path)
    library = os.stat(llama._lib._name)
    return repr((
        facts.st_size, facts.st_mtime_ns, library.st_size, library.st_mtime_ns,
        start.n_ctx, start.n_seq_max, start.n_batch, start.n_ubatch, start.type_k, start.type_v, start.repack,
    ))  # fmt: skip
