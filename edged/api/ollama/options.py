"""`options`, ollama's settings of a model and of how it answers."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.errors import Unsupported
from edged.api.generation.sampling import sampling_of, stops_of
from edged.runner import protocol

_MOST_LOOKED_AT = 65536  # tokens, by penalties

_Planned = Annotated[
    Any,
    Meta(description="Changes nothing: the plan decides it, or `models` in the configuration."),
]
_Outdated = Annotated[Any, Meta(description="Changes nothing, as in ollama today.")]


class Options(Struct, kw_only=True, forbid_unknown_fields=True):
    """How to answer. What would load the model in another way changes nothing."""

    seed: fields.Seed | None = None
    temperature: fields.Temperature | None = None
    top_k: fields.TopK | None = None
    top_p: fields.TopP | None = None
    min_p: fields.MinP | None = None
    typical_p: fields.TypicalP | None = None
    repeat_penalty: fields.RepeatPenalty | None = None
    repeat_last_n: (
        Annotated[
            int,
            Meta(
                ge=-1,
                le=_MOST_LOOKED_AT,
                description="How many of the last tokens penalties look at; -1: all.",
            ),
        ]
        | None
    ) = None
    presence_penalty: fields.PresencePenalty | None = None
    frequency_penalty: fields.FrequencyPenalty | None = None
    mirostat: fields.Mirostat | None = None
    mirostat_tau: fields.MirostatTau | None = None
    mirostat_eta: fields.MirostatEta | None = None
    num_predict: (
        Annotated[
            int,
            Meta(ge=-2, le=2**31 - 1, description="Most tokens of an answer; 0 and less: as many as fit."),
        ]
        | None
    ) = None
    stop: fields.Stop | None = None
    num_ctx: Annotated[
        Any,
        Meta(
            description="Changes nothing: the plan decides it, and what does not fit is refused, never cut."
        ),
    ] = None
    num_keep: Annotated[Any, Meta(description="Changes nothing: nothing of a prompt is ever cut.")] = None
    num_batch: _Planned = None
    num_thread: _Planned = None
    num_gpu: _Planned = None
    main_gpu: _Planned = None
    low_vram: _Planned = None
    use_mmap: _Planned = None
    use_mlock: _Planned = None
    numa: _Planned = None
    f16_kv: _Outdated = None
    logits_all: _Outdated = None
    vocab_only: _Outdated = None
    embedding_only: _Outdated = None
    penalize_newline: _Outdated = None
    tfs_z: Annotated[
        float | None, Meta(description="Refused but for 1: llama.cpp has tail-free sampling no more.")
    ] = None


def generate_of(options: Options | None, **more: Any) -> protocol.Generate:
    """What a runner is to do, by the options; `more` are further fields of it. Raises InvalidRequest."""
    options = options or Options()
    if options.tfs_z not in (None, 1.0):
        raise Unsupported(
            "options.tfs_z: there is no tail-free sampling any more; use min_p", "options.tfs_z"
        )
    sampling = sampling_of(options)
    if options.repeat_last_n == -1:
        sampling = msgspec.structs.replace(sampling, repeat_last_n=_MOST_LOOKED_AT)
    n_predict = options.num_predict
    return protocol.Generate(
        id=0,
        sampling=sampling,
        max_tokens=n_predict if n_predict is not None and n_predict > 0 else None,
        stop=stops_of(options.stop),
        **more,
    )
