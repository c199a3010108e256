"""A model's settings: the defaults for what is `auto`, and how they shrink when memory is short.

What the user fixed is never changed. The order of shrinking is from what costs least to what costs most:
repacked weights, the size of a computed batch, slots, precision of the KV cache, context length.
"""

from collections.abc import Callable, Iterator

import msgspec

from edged.config.schema import Model
from edged.gguf.footprint import MAX_DRAFT_TOKENS, ContextSettings, Footprint, KvType, footprint
from edged.gguf.header import GgufHeader
from edged.policy.types import Kind, ModelInput

GENERATE_N_CTX = 4096
GENERATE_N_SEQ_MAX = 4
EMBED_N_SEQ_MAX = 64
N_BATCH = 512
MAX_N_BATCH = 8192  # the most that the configuration allows; an encoder's n_ctx cannot be larger
MIN_N_UBATCH = 64
_MAX_CELLS = 1 << 30  # llama.cpp counts the cells of all sequences in 32 bits
_QUANTIZED_BLOCK = 32  # llama.cpp quantizes a head's cells in blocks of 32 values


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model would be run. `n_ctx` is per request."""

    repack: bool
    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    type_k: KvType
    type_v: KvType


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and what they take."""

    settings: Settings
    footprint: Footprint

    @property
    def resident_bytes(self) -> int:
        """What the model takes with all of its file in the page cache."""
        return self.footprint.anon_bytes + self.footprint.file_bytes

    def loaded_anon_bytes(self, kind: Kind) -> int:
        """What the model has taken when it is ready, before a batch has used the buffers for computing."""
        taken = self.footprint
        # an embedding context makes room for its outputs with the first batch
        outputs_bytes = taken.output_bytes if kind == "generate" else 0
        return taken.base_bytes + taken.repack_bytes + taken.kv_bytes + outputs_bytes


def kind_of(model: ModelInput) -> Kind:
    """What a model is for: as configured, else as its file says."""
    if model.model.kind != "auto":
        return model.model.kind
    if model.header.is_ranking_model:
        return "rank"
    return "embed" if model.header.is_embedding_model else "generate"


def impossible(model: ModelInput, kind: Kind) -> str | None:
    """Why what the user fixed cannot work with this file, and what to change; None when it can."""
    fixed, header, where = model.model, model.header, f"models.{model.id}"
    if (misfit := _misfit(header, kind, where)) is not None:
        return misfit
    if kind != "generate" and fixed.n_ctx != "auto":
        if header.is_encoder and fixed.n_ctx > header.n_ctx_train:
            return (
                f"n_ctx {fixed.n_ctx} is more than the {header.n_ctx_train} positions the model has: "
                f"set {where}.n_ctx to {header.n_ctx_train} or less"
            )
        room = _fixed_ubatch(fixed)
        if room is not None and room < fixed.n_ctx:
            return (
                f"a model of kind {kind} computes a whole input at once, and n_ubatch or n_batch {room} is"
                f" below n_ctx {fixed.n_ctx}: set {where}.n_ubatch and {where}.n_batch to {fixed.n_ctx} or"
                " more"
            )
        if fixed.n_ctx > MAX_N_BATCH:
            return f"a model of kind {kind} takes at most {MAX_N_BATCH} tokens: set {where}.n_ctx lower"
    if fixed.repack is True and fixed.strategy in ("lazy", "stream"):
        return (
            f"repacking reads all weights first, which contradicts strategy {fixed.strategy}: "
            f"set {where}.repack to false"
        )
    wanted = _defaults(model, kind)
    if wanted.n_ctx * wanted.n_seq_max > _MAX_CELLS:
        return (
            f"n_ctx {wanted.n_ctx} for each of {wanted.n_seq_max} sequences is more than llama.cpp can "
            f"count: set {where}.n_ctx lower"
        )
    for key, width in (("type_k", header.key_length), ("type_v", header.value_length)):
        if kind == "generate" and getattr(fixed, key) in ("q8_0", "q4_0") and width % _QUANTIZED_BLOCK:
            return (
                f"heads are {width} wide, which {getattr(fixed, key)} cannot hold in blocks of "
                f"{_QUANTIZED_BLOCK}: set {where}.{key} to f16"
            )
    return None


def _misfit(header: GgufHeader, kind: Kind, where: str) -> str | None:
    """Why a file is not good for what it is to do, and what to change."""
    if kind == "rank":
        fits = header.has_classifier
        return (
            None if fits else f"the file has no classifier, so it gives no scores: set {where}.kind to auto"
        )
    if header.pooling_type == "rank" and not header.has_classifier:
        return (
            "the file says that it ranks, but has no classifier (cls): it is damaged or was converted wrongly"
        )
    if kind == "generate" and header.is_encoder:
        fitting = "rank" if header.is_ranking_model else "embed"
        return f"{header.architecture} is an encoder and cannot generate: set {where}.kind to {fitting}"
    if kind == "embed" and header.is_ranking_model:
        return f"the file is a cross-encoder and gives scores, not vectors: set {where}.kind to rank"
    if kind == "embed" and not header.is_embedding_model:
        return f"the file says no way to pool vectors, so it gives none: set {where}.kind to generate"
    return None


def levels(
    model: ModelInput, kind: Kind, instruction_sets: tuple[str, ...], base_bytes: int | None = None
) -> tuple[Level, ...]:
    """From the settings one would like to the smallest allowed; steps that save nothing are left out."""

    def level(settings: Settings) -> Level:
        return level_of(model, kind, instruction_sets, settings, base_bytes)

    first = level(_defaults(model, kind))
    if model.model.repack == "auto" and not first.footprint.repack_bytes:  # nothing to repack on this CPU
        first = level(msgspec.structs.replace(first.settings, repack=False))
    found = [first]
    for shrink in _steps(model.model, model.header, kind):
        while (smaller := shrink(found[-1].settings)) is not None:
            following = level(smaller)
            saves = following.resident_bytes < found[-1].resident_bytes
            if not saves and smaller.repack == found[-1].settings.repack:
                break
            found.append(following)
    return tuple(found)


def level_of(
    model: ModelInput,
    kind: Kind,
    instruction_sets: tuple[str, ...],
    settings: Settings,
    base_bytes: int | None = None,
) -> Level:
    """Settings with what they take; `base_bytes` as an earlier load of the file showed it."""
    taken = footprint(model.header, context_settings(settings, kind, instruction_sets), base_bytes)
    return Level(settings=settings, footprint=taken)


def larger(full: Settings, now: Settings) -> Iterator[Settings]:
    """Settings with one of the shrunk values larger again, the most painful loss first, the largest first.

    For generation: the steps of an embedding model build on each other.
    """
    for name in ("n_ctx", "type", "n_seq_max", "n_ubatch"):
        if name == "type":
            if (full.type_k, full.type_v) != (now.type_k, now.type_v):
                yield msgspec.structs.replace(now, type_k=full.type_k, type_v=full.type_v)
            continue
        value = getattr(full, name)
        while value > getattr(now, name):
            yield msgspec.structs.replace(now, **{name: value})
            value //= 2


def context_settings(settings: Settings, kind: Kind, instruction_sets: tuple[str, ...]) -> ContextSettings:
    """The settings as the footprint takes them: a context that pools holds one batch for all sequences."""
    pools = kind != "generate"
    return ContextSettings(
        n_ctx=max(settings.n_ctx, settings.n_batch) if pools else settings.n_ctx,
        n_seq_max=1 if pools else settings.n_seq_max,
        n_ubatch=settings.n_ubatch,
        type_k=settings.type_k,
        type_v=settings.type_v,
        repack=settings.repack,
        instruction_sets=instruction_sets,
        n_drafts=0 if pools else MAX_DRAFT_TOKENS,
    )


def _defaults(model: ModelInput, kind: Kind) -> Settings:
    fixed = model.model
    n_ctx = _n_ctx(fixed, model.header, kind)
    largest = N_BATCH if kind == "generate" else max(N_BATCH, n_ctx)
    if fixed.n_batch != "auto":
        largest = min(largest, fixed.n_batch)
    n_ubatch = fixed.n_ubatch if fixed.n_ubatch != "auto" else largest
    n_batch = fixed.n_batch if fixed.n_batch != "auto" else max(largest, n_ubatch)
    n_seq_max: int = GENERATE_N_SEQ_MAX if kind == "generate" else EMBED_N_SEQ_MAX
    return Settings(
        repack=fixed.repack is not False,
        n_ctx=n_ctx,
        n_seq_max=fixed.n_seq_max if fixed.n_seq_max != "auto" else min(n_seq_max, n_batch),
        n_batch=n_batch,
        n_ubatch=n_ubatch,
        type_k=fixed.type_k if fixed.type_k != "auto" else "f16",
        type_v=fixed.type_v if fixed.type_v != "auto" else "f16",
    )


def _n_ctx(fixed: Model, header: GgufHeader, kind: Kind) -> int:
    if fixed.n_ctx != "auto":
        return fixed.n_ctx
    if kind == "generate":
        return min(header.n_ctx_train, GENERATE_N_CTX)
    return min(header.n_ctx_train, _fixed_ubatch(fixed) or MAX_N_BATCH)


def _fixed_ubatch(fixed: Model) -> int | None:
    """The most tokens at once that the user allows."""
    limits = [limit for limit in (fixed.n_ubatch, fixed.n_batch) if limit != "auto"]
    return min(limits) if limits else None


_Shrink = Callable[[Settings], Settings | None]


def _steps(fixed: Model, header: GgufHeader, kind: Kind) -> tuple[_Shrink, ...]:
    """The ways to shrink in their order; each gives the next smaller settings, or None at its end."""
    n_ctx_min = fixed.n_ctx_min
    blocks = header.key_length % _QUANTIZED_BLOCK == 0 and header.value_length % _QUANTIZED_BLOCK == 0

    def no_repack(now: Settings) -> Settings | None:
        allowed = fixed.repack == "auto" and now.repack
        return msgspec.structs.replace(now, repack=False) if allowed else None

    def half_ubatch(now: Settings) -> Settings | None:
        floor = max(MIN_N_UBATCH, now.n_ctx) if kind != "generate" else MIN_N_UBATCH
        if fixed.n_ubatch != "auto" or now.n_ubatch <= floor:
            return None
        return _with_ubatch(now, max(floor, now.n_ubatch // 2), fixed, kind)

    def half_slots(now: Settings) -> Settings | None:
        allowed = fixed.n_seq_max == "auto" and now.n_seq_max > 1 and kind == "generate"
        return msgspec.structs.replace(now, n_seq_max=now.n_seq_max // 2) if allowed else None

    def quantized_cache(now: Settings) -> Settings | None:
        type_k: KvType = "q8_0" if fixed.type_k == "auto" else now.type_k
        type_v: KvType = "q8_0" if fixed.type_v == "auto" else now.type_v
        if kind != "generate" or not blocks or (type_k, type_v) == (now.type_k, now.type_v):
            return None
        return msgspec.structs.replace(now, type_k=type_k, type_v=type_v)

    def half_context(now: Settings) -> Settings | None:
        if fixed.n_ctx != "auto" or now.n_ctx <= n_ctx_min:
            return None
        smaller = msgspec.structs.replace(now, n_ctx=max(n_ctx_min, now.n_ctx // 2))
        if kind != "generate" and fixed.n_ubatch == "auto":
            return _with_ubatch(smaller, min(smaller.n_ubatch, max(MIN_N_UBATCH, smaller.n_ctx)), fixed, kind)
        return smaller

    return no_repack, half_ubatch, half_slots, quantized_cache, half_context


def _with_ubatch(now: Settings, n_ubatch: int, fixed: Model, kind: Kind) -> Settings:
    """A smaller ubatch; an embedding batch is one ubatch, so that n_batch follows."""
    follows = kind != "generate" and fixed.n_batch == "auto"
    return msgspec.structs.replace(now, n_ubatch=n_ubatch, n_batch=n_ubatch if follows else now.n_batch)
