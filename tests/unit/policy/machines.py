"""Invented machines and models to plan for."""

from typing import Any

import msgspec

from edged.config.schema import Loading, Memory, Model, Seconds
from edged.gguf.header import GgufHeader
from edged.hw.snapshot import CpuFacts, FileFacts, HardwareSnapshot, MemoryFacts, StorageFacts
from edged.policy.plan import plan
from edged.policy.repacking import key_of
from edged.policy.types import LoadPlan, Measured, ModelInput, PlanSettings, RepackGain
from tests.unit.gguf import headers

MIB = 1 << 20
GIB = 1 << 30
_HEADERS = {"minilm": headers.minilm, "smollm2": headers.smollm2, "gemma": headers.gemma3}


def model(name: str, header: GgufHeader | None = None, **settings: Any) -> ModelInput:
    """An installed model; `name` also says which, unless its header is given."""
    header = header or _HEADERS[name]()
    header = msgspec.structs.replace(header, path=f"/models/{name}.gguf")
    return ModelInput(id=name, model=Model(file=f"{name}.gguf", **settings), header=header)


def machine(
    available_bytes: int | None = 8 * GIB,
    bytes_per_s: float | None = 40e6,
    cached_share: float | None = 0.0,
    cpu: CpuFacts | None = None,
    **memory: Any,
) -> HardwareSnapshot:
    """A machine whose one storage holds every model."""
    total = None if available_bytes is None else 2 * available_bytes
    return HardwareSnapshot(
        memory=MemoryFacts(total_bytes=total, available_bytes=available_bytes, **memory),
        cpu=cpu or CpuFacts(usable_cores=4, instruction_sets=("avx2",)),
        storage=(StorageFacts(path="/models", device="mmcblk0", sequential_bytes_per_s=bytes_per_s),),
        files=tuple(
            FileFacts(path=f"/models/{name}.gguf", cached_share=cached_share, storage_path="/models")
            for name in _HEADERS
        ),
    )


def gains(cpu: CpuFacts, build: str = "", **prompt_ratios: float) -> dict[str, RepackGain]:
    """What repacking was measured to gain for these types of weights."""
    return {
        key_of(cpu, build, weight_type): RepackGain(
            prompt_ratio=ratio, answer_ratio=1.1, prompt_s_per_weight=1e-11, answer_s_per_weight=2e-11
        )
        for weight_type, ratio in prompt_ratios.items()
    }


def settings(
    lazy_available: bool = True, prefetch: bool = True, start_budget_s: float = 10, **memory: Any
) -> PlanSettings:
    """What the user set for all models."""
    loading = Loading(prefetch=prefetch, start_budget=Seconds(start_budget_s))
    return PlanSettings(memory=Memory(**memory), loading=loading, lazy_available=lazy_available)


def plan_one(
    snapshot: HardwareSnapshot,
    one: ModelInput,
    planned: PlanSettings | None = None,
    measured: Measured = Measured(),  # noqa: B008  # frozen
) -> LoadPlan:
    """The plan of a model that is alone on the machine."""
    (found,) = plan(snapshot, [one], planned or settings(), measured)
    return found


def said(found: LoadPlan) -> str:
    """All reasons as one text."""
    return "\n".join(found.reasons)
