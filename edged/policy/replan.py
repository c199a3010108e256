"""Planning while models are loaded: what they have is theirs, and others get what is left."""

from collections.abc import Mapping

import msgspec

from edged.config.schema import Config
from edged.policy.types import LoadPlan

# What a context and its memory are made by; a strategy only says how the file gets into memory.
_MADE_BY = (
    *("path", "kind", "repack", "n_ctx", "n_seq_max", "n_batch", "n_ubatch"),
    *("type_k", "type_v", "n_threads"),
)
_FIXABLE = ("kind", "strategy", "repack", "n_ctx", "n_seq_max", "n_batch", "n_ubatch", "type_k", "type_v")


def as_loaded(config: Config, loaded: Mapping[str, LoadPlan]) -> Config:
    """The configuration with loaded models as they are, and before all others: first come, first served."""
    models = {
        model: msgspec.structs.replace(config.models[model], **{key: getattr(plan, key) for key in _FIXABLE})
        for model, plan in loaded.items()
    }
    return msgspec.structs.replace(config, models=models | {**config.models, **models})


def works_alike(one: LoadPlan, other: LoadPlan) -> bool:
    """Whether a runner that was started by one plan is what the other asks for."""
    return all(getattr(one, key) == getattr(other, key) for key in _MADE_BY)
