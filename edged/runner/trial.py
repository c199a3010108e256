"""A model without queue or reader around it, for processes that only measure how fast it computes."""

import ctypes
from typing import Literal

import msgspec

from edged.runner.model import Context, Model
from edged.runner.protocol import Start


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """`n_batch` tokens are computed at once, of `n_seq_max` sequences of up to `n_ctx`."""

    kind: Literal["generate", "embed"]
    n_ctx: int
    n_batch: int
    n_seq_max: int
    n_threads: int
    repack: bool = False

    def context(self, path: str) -> Context:
        """The model of a file, loaded. Raises ModelFileError."""
        start = Start(
            path=path,
            kind=self.kind,
            wait_for_prefetch=False,
            warmup=False,
            repack=self.repack,
            n_ctx=self.n_ctx,
            n_seq_max=self.n_seq_max,
            n_batch=self.n_batch,
            n_ubatch=self.n_batch,
            type_k="f16",
            type_v="f16",
            n_threads=self.n_threads,
            prefetch=(),
            random_access=(),
            mlock_bytes=0,
            max_queue_tokens=1,
            max_queue_requests=1,
        )
        return Context(Model(start), start, ctypes.c_int(0))
