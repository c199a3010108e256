"""llama.cpp's batch over numpy arrays."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as llama


class Batch:
    """One llama_batch over numpy arrays, filled by slices instead of per token."""

    def __init__(self, n_tokens: int, *, all_outputs: bool) -> None:
        self._all_outputs = all_outputs  # pooling takes every token
        self._token = np.zeros(n_tokens, np.int32)
        self._pos = np.zeros(n_tokens, np.int32)
        self._n_seq = np.ones(n_tokens, np.int32)
        self._seq = np.zeros(n_tokens, np.int32)
        self._output = np.zeros(n_tokens, np.int8)
        self._seq_pointers = self._seq.ctypes.data + 4 * np.arange(n_tokens, dtype=np.uintp)
        self._batch = llama.llama_batch(
            token=pointer_to(self._token, llama.llama_token),
            pos=pointer_to(self._pos, llama.llama_pos),
            n_seq_id=pointer_to(self._n_seq, ctypes.c_int32),
            seq_id=pointer_to(self._seq_pointers, ctypes.POINTER(llama.llama_seq_id)),
            logits=pointer_to(self._output, ctypes.c_int8),
        )

    def fill(self, rows: Sequence[tuple[int, int, Sequence[int], int]]) -> Any:
        """The batch of (sequence, first position, tokens, outputs wanted of the last ones) rows."""
        end = 0
        for sequence, first, tokens, n_outputs in rows:
            begin, end = end, end + len(tokens)
            self._token[begin:end] = tokens
            self._pos[begin:end] = np.arange(first, first + len(tokens))
            self._seq[begin:end] = sequence
            self._output[begin:end] = self._all_outputs
            self._output[end - n_outputs : end] = 1
        self._batch.n_tokens = end
        return self._batch


def pointer_to(array: np.ndarray[Any, Any], kind: Any) -> Any:
    """The array's memory for C, as a pointer to `kind`; the array must outlive it."""
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
