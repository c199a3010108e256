"""Whether weights are worth a copy in another layout: faster prompts, against memory and a later start.

The objective is the time to the answer of a typical request. Repacking pays where prompts get noticeably
faster, and where ten typical requests make up for the seconds that it adds to the first answer. Memory has no
price here: `plan` gives repacked copies only what no model needs for anything else.

A model's gain follows from the gains of its types of weights by Amdahl's law, every weight that is not
repacked counting as if it took as long as one that is: `1 / (sum of share / ratio + rest)`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from edged.gguf.header import GgufHeader, TensorInfo
from edged.gguf.repack import repacked_tensors
from edged.hw.snapshot import CpuFacts
from edged.policy.settings import kind_of
from edged.policy.types import Kind, Measured, ModelInput, RepackGain

# A typical request, in tokens: a question with some context; a paragraph to embed; ten of them to rank.
PROMPT_TOKENS: Mapping[Kind, int] = {"generate": 256, "embed": 64, "rank": 640}
ANSWER_TOKENS: Mapping[Kind, int] = {"generate": 64, "embed": 0, "rank": 0}
LEAST_RATIO = 1.05  # what is gained below that is not noticed, and costs memory and the lazy map
WORTH_REQUESTS = 10  # which make up for a later first answer

# Where it was not measured yet. By tests/bench/repack.py on a 2-core x86-64 machine with AVX-512: llama.cpp's
# other kernels for K-quants beat those for repacked ones there. Elsewhere it is assumed that repacking is as
# useful as its authors meant it to be.
_X86_RATIOS = {"Q4_0": 1.7, "IQ4_NL": 1.7, "MXFP4": 3.0, "Q4_K": 0.75, "Q2_K": 0.65}
_ASSUMED_RATIO = 1.5
# The same machine's, with 2 threads: a slower one only gains more.
_PROMPT_S_PER_WEIGHT, _ANSWER_S_PER_WEIGHT = 1e-11, 2e-11


class Repacking(msgspec.Struct, frozen=True, kw_only=True):
    """What repacking would do to one model on this CPU."""

    prompt_ratio: float  # of the whole model; above 1: faster
    saved_s: float  # of a typical request; negative where it costs
    copied_bytes: int
    types: tuple[tuple[str, float], ...]  # repacked types and their own prompt ratios, the largest part first
    not_measured: tuple[str, ...]  # those of them whose ratio is a default

    @property
    def pays(self) -> bool:
        """Whether it is worth its memory, as far as speed goes."""
        return self.prompt_ratio >= LEAST_RATIO and self.saved_s > 0


def key_of(cpu: CpuFacts, llama_build: str, weight_type: str) -> str:
    """Under which a gain is kept: it holds for this CPU, this build of llama.cpp and this type."""
    sets = "+".join(cpu.instruction_sets)
    return "|".join((cpu.architecture or "", cpu.model_name or "", sets, llama_build, weight_type))


def repacking_of(
    header: GgufHeader, kind: Kind, cpu: CpuFacts, llama_build: str, measured: Measured
) -> Repacking | None:
    """What is known or assumed of repacking this model; None where nothing would be repacked."""
    copied = repacked_tensors(header, cpu.instruction_sets)
    if not copied:
        return None
    kept = {name: measured.repack_gains.get(key_of(cpu, llama_build, name)) for name in _by_type(copied)}
    gains = {name: gain or _default(name, cpu) for name, gain in kept.items()}
    prompt = _by_type(tensor for tensor in copied if _meets_every_token(tensor))
    plain = sum(_by_type(tensor for tensor in header.tensors if _meets_every_token(tensor)).values())
    prompt_s = sum(
        count * gains[name].prompt_s_per_weight * (1 - 1 / gains[name].prompt_ratio)
        for name, count in prompt.items()
    )
    # A faster answer is not counted: real weights come from memory, whose speed no layout changes, while
    # those that were measured are few enough to be cached.
    answer_s = sum(
        count * gains[name].answer_s_per_weight * min(0.0, 1 - 1 / gains[name].answer_ratio)
        for name, count in _by_type(copied).items()
    )
    left = plain - sum(count * (1 - 1 / gains[name].prompt_ratio) for name, count in prompt.items())
    return Repacking(
        prompt_ratio=plain / left if left > 0 else 1.0,
        saved_s=PROMPT_TOKENS[kind] * prompt_s + ANSWER_TOKENS[kind] * answer_s,
        copied_bytes=sum(tensor.size_bytes for tensor in copied),
        types=tuple((name, gains[name].prompt_ratio) for name in kept),
        not_measured=tuple(name for name, gain in kept.items() if gain is None),
    )


def not_measured(
    models: Iterable[ModelInput], cpu: CpuFacts, llama_build: str, measured: Measured
) -> dict[str, str]:
    """The types of weights whose gain would decide something here and is not known, by their keys."""
    wanted = (
        each
        for each in models
        if each.model.repack == "auto" and each.model.strategy not in ("lazy", "stream")
    )
    found = (repacking_of(each.header, kind_of(each), cpu, llama_build, measured) for each in wanted)
    names = {name: None for repacking in found if repacking is not None for name in repacking.not_measured}
    return {key_of(cpu, llama_build, name): name for name in names}


def _default(weight_type: str, cpu: CpuFacts) -> RepackGain:
    ratios = _X86_RATIOS if "avx2" in cpu.instruction_sets else {}
    return RepackGain(
        prompt_ratio=ratios.get(weight_type, _ASSUMED_RATIO),
        answer_ratio=1.0,
        prompt_s_per_weight=_PROMPT_S_PER_WEIGHT,
        answer_s_per_weight=_ANSWER_S_PER_WEIGHT,
    )


def _by_type(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """How many weights there are of each type, the most first."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.type_name] += math.prod(tensor.dims)
    return dict(counts.most_common())


def _meets_every_token(tensor: TensorInfo) -> bool:
    """Matrices of the blocks; the output matrix meets the last token of a prompt alone."""
    return len(tensor.dims) > 1 and "blk." in tensor.name
