"""How a runner is started, looked after and stopped, and what it says of itself."""

from typing import Literal

import msgspec

from edged.runner.protocol.bounds import Count, Seconds
from edged.runner.protocol.conversation import ChatFormat


class FileRange(msgspec.Struct, frozen=True, array_like=True):
    """A piece of the model file."""

    offset: int
    length: int


# ---- daemon to runner ----


class Start(msgspec.Struct, frozen=True, tag="start", kw_only=True):
    """The first frame: what to load and how. `n_ctx` is per sequence."""

    path: str
    kind: Literal["generate", "embed", "rank"]
    wait_for_prefetch: bool
    warmup: bool
    repack: bool
    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    n_threads: int
    adapt_threads: bool = False  # n_threads is the most: fewer where cores are taken away
    prefetch: tuple[FileRange, ...]
    random_access: tuple[FileRange, ...]
    replaced: tuple[FileRange, ...] = ()  # not used in the file once they are repacked
    mlock_bytes: int
    max_queue_tokens: int
    max_queue_requests: int
    step_s: float = 0.25  # a step that also computes prompts, while answers are under way
    prefix_dir: str | None = None  # where hot prefixes are kept over an unload, and how much they may take
    prefix_bytes: int = 0
    read_bytes_per_s: float | None = None  # what the model file's storage is believed to give
    max_draft_tokens: int = 0  # of a step for a lone sequence, so many less for each other; 0: no speculation
    lease_fd: int | None = None  # of a file that all runners share; locked around each step
    pass_waits: bool = False  # nothing computes before all is read: faults are slow on this storage
    board_fd: int | None = None  # of another one, by which readers take turns
    number: int = 0  # of this model's place there


class Warmup(msgspec.Struct, frozen=True, tag="warmup"):
    """Fill the page cache and run one real batch, then say `Warmed`."""

    id: int


class Cool(msgspec.Struct, frozen=True, tag="cool"):
    """Give back memory that can be had again, then say `Cooled`; nothing happens while there is work.

    The file's pages; with `shrink` also the context, with all that its slots remember.
    """

    shrink: bool = False


class ReadAhead(msgspec.Struct, frozen=True, tag="read_ahead"):
    """Read the file ahead of its use from now on, or only what is touched: memory is short."""

    allowed: bool


class Limit(msgspec.Struct, frozen=True, tag="limit"):
    """From now on, other limits than those of `Start`; what waits already goes on waiting."""

    max_queue_tokens: int
    max_queue_requests: int
    step_s: Seconds


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Let the engine take a turn, and so beat (see `edged.runner.pulse`)."""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Stop computing, give the memory back, exit 0."""


# ---- runner to daemon ----


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """True progress of the reader, by bytes of the model file."""

    phase: Literal["prefetch", "vocabulary", "context", "warmup"]
    bytes_done: Count
    bytes_total: Count


class Reads(msgspec.Struct, frozen=True, tag="reads", kw_only=True):
    """What this runner has cost the storage since it was spawned; sent once more after its first answer."""

    read_bytes: Count | None  # really fetched for it, page cache hits left out
    major_faults: Count  # page faults that waited for storage


class Ready(msgspec.Struct, frozen=True, tag="ready", kw_only=True):
    """The model answers from now on; with `prefetch_done` False, pages still stream in behind it."""

    n_ctx: Count
    n_embd: Count
    n_vocab: Count
    chat: ChatFormat | None  # None: there is no chat template
    prefetch_done: bool
    lazy_map: bool  # False: lazymap was not preloaded and llama.cpp read the whole file
    timings_s: dict[str, Seconds]
    anon_bytes: Count | None
    reads: Reads | None = None
    reading_s: Seconds | None = None  # what the reader spent on reads; None while it still reads


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The model cannot be loaded; the runner exits after this."""

    reason: str


class Cooled(msgspec.Struct, frozen=True, tag="cooled"):
    """The answer to `Cool`: whether nothing was to be done, and so it was; resident bytes given back."""

    done: bool
    shrunk: bool = False
    freed_bytes: Count = 0


class Gauges(msgspec.Struct, frozen=True, tag="gauges", kw_only=True):
    """The engine's state, sent when it changes, at most a few times a second."""

    busy_slots: Count
    queued_requests: Count
    queued_tokens: Count
    drafted_tokens: Count = 0  # since the model was loaded
    accepted_tokens: Count = 0
