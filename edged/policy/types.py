"""What planning takes (a model to plan for, what earlier starts measured) and the decision that it gives."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from edged.config.schema import Loading, Memory, Model
from edged.gguf.header import GgufHeader

Strategy = Literal["warm", "stream", "lazy", "on_demand", "locked", "refused"]
Kind = Literal["generate", "embed", "rank"]
Ratio = Annotated[float, msgspec.Meta(gt=0, le=1e3)]
Cost = Annotated[float, msgspec.Meta(ge=0, le=1.0)]


class ModelInput(msgspec.Struct, frozen=True, kw_only=True):
    """One installed model: its name, what the user set, and what its file says."""

    id: str
    model: Model
    header: GgufHeader
    weights_reason: str | None = None  # why it was converted to the weight format that it has

    @property
    def path(self) -> str:
        """The model file."""
        return self.header.path


class PlanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the user set for all models. `lazy_available`: the lazy map was built when edged was installed."""

    memory: Memory = Memory()
    loading: Loading = Loading()
    lazy_available: bool = True
    llama_build: str = ""  # which llama.cpp computes; what was measured with another one does not count


class RepackGain(msgspec.Struct, frozen=True, kw_only=True):
    """What repacking does to weights of one type: ratios of speed, above 1 where it is faster.

    `..._s_per_weight` is what one weight costs for one token without it.
    """

    prompt_ratio: Ratio
    answer_ratio: Ratio
    prompt_s_per_weight: Cost
    answer_s_per_weight: Cost


class LoadTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What one model's loads took before, in time and memory; None where it was never measured."""

    load_s: float | None = None  # mapping and vocabulary, without repacking
    load_repacked_s: float | None = None  # the same with repacking
    context_s: float | None = None
    warmup_s: float | None = None
    base_bytes: int | None = None  # `Footprint.base_bytes`


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What earlier starts measured on this machine: models by file path, rates by device."""

    spawn_s: float | None = None
    models: Mapping[str, LoadTimes] = {}
    bytes_per_s: Mapping[str, float] = {}
    repack_gains: Mapping[str, RepackGain] = {}  # by `policy.repacking.key_of`


class ByteRange(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a model file."""

    offset: int
    length: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan expects; the measured values stand beside these afterwards."""

    file_bytes: int
    anon_bytes: int  # once every buffer has been used
    loaded_anon_bytes: int = 0  # when the model is ready
    base_bytes: int = 0  # the fitted part of both
    ready_s: float | None  # None where the storage rate is unknown
    first_answer_s: float | None
    started_s: float = 0.0  # the part of both that is no reading: interpreter, vocabulary, context
    batch_s: float = 0.0  # and that of a first short batch
    read_bytes_per_s: float | None = None  # what the file's storage is believed to give


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is loaded on this machine, and why.

    `n_ctx` is what one request may use (prompt and answer together); llama.cpp's own n_ctx is
    `n_ctx * n_seq_max` for generation. `prefetch` is in the order in which the bytes are wanted.
    """

    model: str
    path: str
    kind: Kind
    strategy: Strategy
    load_at_start: bool
    paged: bool = False  # its file need not stay in memory, but for what is locked of it
    makes_room: bool = False  # it does not fit beside those that are loaded at start: some leave for it
    repack: bool
    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    n_threads: int
    adapt_threads: bool = False  # fewer while others use the cores; never where the number is configured
    prefetch: tuple[ByteRange, ...]
    replaced: tuple[ByteRange, ...] = ()  # repacked: copies are used instead
    random_access: tuple[ByteRange, ...]  # rows picked here and there: readahead would only waste reads
    mlock_bytes: int
    pass_waits: bool = False  # nothing computes before the reader is through: faults are slow here
    predicted: Prediction
    shrunk: tuple[str, ...] = ()  # what is smaller than it would be with more memory
    reasons: tuple[str, ...]
