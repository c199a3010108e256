"""The whole contract between the daemon and a runner: typed frames over one inherited Unix socketpair.

A frame is a 4-byte little-endian length and a msgpack body. Never pickle: a runner that a hostile model
file has taken over must not be able to run code in the daemon; a frame that does not decode ends the runner.
"""

import array
import math
import socket
import struct
from collections.abc import Iterator
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")
_Frame = TypeVar("_Frame")

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class ProtocolError(Exception):
    """The other side sent something that is not a frame of this contract."""


class FileRange(msgspec.Struct, frozen=True, array_like=True):
    """A piece of the model file."""

    offset: int
    length: int


# ---- daemon to runner ----


class Start(msgspec.Struct, frozen=True, tag="start", kw_only=True):
    """The first frame: what to load and how. `n_ctx` is per sequence."""

    path: str
    kind: Literal["generate", "embed"]
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


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; the role was checked at the door."""

    role: str
    content: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """llama.cpp's sampler chain. Values were checked at the door; defaults are llama-server's."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: int = 0  # 1 or 2 replaces top_k to min_p
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    grammar: str | None = None
    ignore_eos: bool = False


class Generate(msgspec.Struct, frozen=True, tag="generate", kw_only=True):
    """Continue a conversation (rendered with the model's chat template), a text, or tokens."""

    id: int
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None  # None: as many as the context holds
    stop: tuple[str, ...] = ()
    timeout_s: Seconds | None = None  # from now; nothing is computed for it after that
    cache_prompt: bool = True  # False: the whole prompt is computed
    n: int = 1  # answers to the same prompt; each is sampled with a seed of its own
    top_logprobs: int | None = None  # how many of the likeliest tokens to name beside each; None: no logprobs
    whole: bool = False  # the client takes all at once: only the first tokens and the rest are sent


class Embed(msgspec.Struct, frozen=True, tag="embed", kw_only=True):
    """Embed texts or token lists; the answer keeps their order."""

    id: int
    texts: tuple[str, ...] = ()
    token_lists: tuple[tuple[int, ...], ...] = ()
    truncate: bool = False


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The client has gone: free the slot at the next step. Nothing more is sent for this id."""

    id: int


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


ToRunner = Start | Generate | Embed | Cancel | Warmup | Cool | ReadAhead | Limit | Ping | Shutdown


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
    has_chat_template: bool
    prefetch_done: bool
    lazy_map: bool  # False: lazymap was not preloaded and llama.cpp read the whole file
    timings_s: dict[str, Seconds]
    anon_bytes: Count | None
    reads: Reads | None = None
    reading_s: Seconds | None = None  # what the reader spent on reads; None while it still reads


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The model cannot be loaded; the runner exits after this."""

    reason: str


class Rejected(msgspec.Struct, frozen=True, tag="rejected", kw_only=True):
    """Not served: `invalid` as it is, the queue `full`, its deadline passed (`late`), or it `failed`."""

    id: int
    kind: Literal["invalid", "full", "late", "failed"]
    message: str
    param: str | None = None
    retry_after_s: Seconds = 1.0


class Admitted(msgspec.Struct, frozen=True, tag="admitted"):
    """A slot works on this generation; `n_cached_tokens` of the prompt were already in its KV cache."""

    id: int
    n_prompt_tokens: Count
    n_cached_tokens: Count


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A generated token's log probability before anything was left out, and those of the likeliest."""

    piece: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


class TokenEvent(msgspec.Struct, frozen=True, array_like=True):
    """New text of one of a request's answers. `n_generated` counts all its tokens so far."""

    id: int
    text: str
    n_generated: Count
    finish_reason: Literal["stop", "length"] | None = None
    index: Count = 0  # which of the request's `n` answers
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens that `text` completes, if they were asked for


class Step(msgspec.Struct, frozen=True, tag="step"):
    """One frame carries a step's tokens for all sequences."""

    events: tuple[TokenEvent, ...]


class Embeddings(msgspec.Struct, frozen=True, tag="embeddings", kw_only=True):
    """Unit vectors, row after row, as raw little-endian float32."""

    id: int
    n_embd: Count
    n_tokens: tuple[Count, ...]  # per input
    vectors: bytes

    def __post_init__(self) -> None:
        """A row of numbers for each input, or it is no frame of this contract."""
        if len(self.vectors) != 4 * self.n_embd * len(self.n_tokens) or not self.vectors:
            raise ValueError(f"{len(self.vectors)} bytes, for {len(self.n_tokens)} x {self.n_embd} numbers")
        if not math.isfinite(sum(array.array("f", self.vectors))):
            raise ValueError("vectors of what are no numbers")


class Warmed(msgspec.Struct, frozen=True, tag="warmed"):
    """The answer to `Warmup`."""

    id: int
    elapsed_s: Seconds


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


FromRunner = (
    Progress | Ready | Reads | LoadFailed | Rejected | Admitted | Step | Embeddings | Warmed | Cooled | Gauges
)

_encoder = msgspec.msgpack.Encoder()
_to_runner: msgspec.msgpack.Decoder[ToRunner] = msgspec.msgpack.Decoder(ToRunner)
_from_runner: msgspec.msgpack.Decoder[FromRunner] = msgspec.msgpack.Decoder(FromRunner)


def pack(frame: ToRunner | FromRunner) -> bytes:
    """A frame as bytes, ready for `sendall`."""
    body = _encoder.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


class FrameBuffer(Generic[_Frame]):
    """Frames out of a byte stream that arrives in pieces of any size."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[_Frame]) -> None:
        self._decoder = decoder
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[_Frame]:
        """The frames that `piece` completes. Raises ProtocolError on anything that is not one."""
        self._pending += piece
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = _LENGTH.size + length
            if len(self._pending) < end:
                return
            body = bytes(self._pending[_LENGTH.size : end])
            del self._pending[:end]
            try:
                yield self._decoder.decode(body)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise ProtocolError(f"not a frame of this contract: {error}") from error


def frames_from_runner() -> FrameBuffer[FromRunner]:
    """A buffer for what a runner sends."""
    return FrameBuffer(_from_runner)


def read_to_runner(connection: socket.socket) -> Iterator[ToRunner]:
    """The daemon's frames, until it closes or dies. Raises ProtocolError on anything else."""
    frames = FrameBuffer(_to_runner)
    while piece := connection.recv(1 << 16):
        yield from frames.feed(piece)
