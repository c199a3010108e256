"""What llama.cpp's POST /completion takes."""

from typing import Annotated

from msgspec import Meta, Struct

from edged.api import fields
from edged.api.endpoint import Refused
from edged.api.openai.inputs import Token

# As documented, and with the penalties that llama-server puts first; the order is the same in every request.
_SAMPLERS = ["dry", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]


class PromptObject(Struct, kw_only=True, forbid_unknown_fields=True):
    """A text as an object."""

    prompt_string: str
    multimodal_data: Annotated[list[str] | None, Meta(description="Refused: models read text only.")] = None


Prompt = Annotated[
    str | PromptObject | list[str | Token | PromptObject | list[str | Token]],
    Meta(
        description="A text, a list of tokens, or of tokens and texts; also in a list of one. Control tokens"
        " may be spelled out: the client has rendered the template itself."
    ),
]
Bias = Annotated[float, Meta(ge=-100, le=100)] | bool
_FEW = Meta(max_length=1024)  # every step looks at all of them, for all who share the batch
Biases = Annotated[
    Annotated[dict[str, Bias], _FEW] | Annotated[list[tuple[str | Token, Bias]], _FEW],
    Meta(description="What is added to the logits of tokens, by number or text; false: never choose them."),
]


class CompletionRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A prompt to go on with."""

    model: fields.OneModel | None = None
    prompt: Prompt
    n_predict: (
        Annotated[int, Meta(ge=-1, le=2**31 - 1, description="Most tokens of an answer; -1: all.")] | None
    ) = None
    n_cmpl: fields.Answers | None = None
    n_probs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        Meta(description="Name each token's log probability, and so many of the likeliest tokens; 0: none."),
    ] = None
    stop: fields.Stop | None = None
    stream: fields.Stream | None = None
    temperature: fields.Temperature | None = None
    top_k: fields.TopK | None = None
    top_p: fields.TopP | None = None
    min_p: fields.MinP | None = None
    typical_p: fields.TypicalP | None = None
    repeat_penalty: fields.RepeatPenalty | None = None
    repeat_last_n: fields.RepeatLastN | None = None
    presence_penalty: fields.PresencePenalty | None = None
    frequency_penalty: fields.FrequencyPenalty | None = None
    mirostat: fields.Mirostat | None = None
    mirostat_tau: fields.MirostatTau | None = None
    mirostat_eta: fields.MirostatEta | None = None
    logit_bias: Biases | None = None
    seed: fields.Seed | None = None
    grammar: fields.Grammar | None = None
    json_schema: fields.JsonSchema = None
    ignore_eos: fields.IgnoreEos | None = None
    cache_prompt: fields.CachePrompt | None = None
    return_tokens: Annotated[
        bool | None, Meta(description="Name the answer's tokens; streams always do.")
    ] = None
    response_fields: Annotated[
        list[str] | None, Meta(description="Only these fields of the answer; a/b moves b out of a.")
    ] = None
    keep_alive: fields.KeepAlive | None = None


_NO_DRY = "Changes nothing without dry_multiplier."
HARMLESS = {
    "dry_allowed_length": _NO_DRY,
    "dry_base": _NO_DRY,
    "dry_penalty_last_n": _NO_DRY,
    "dry_sequence_breakers": _NO_DRY,
    "dynatemp_exponent": "Changes nothing without dynatemp_range.",
    "id_slot": "The slot that has most of the prompt already is chosen.",
    "n_cache_reuse": "What was computed of the same beginning is found without it.",
    "n_discard": "Nothing is ever discarded: an answer ends where the context does.",
    "n_keep": "Nothing is ever discarded: an answer ends where the context does.",
    "return_progress": "Streams do not tell how far a prompt is.",
    "sse_ping_interval": "A silent stream is kept open by comments.",
    "timings_per_token": "The last event of a stream has the timings.",
    "xtc_threshold": "Changes nothing without xtc_probability.",
}
REFUSED = {
    "dry_multiplier": Refused("DRY sampling is not supported; use repeat_penalty.", off=(0, 0.0)),
    "dynatemp_range": Refused("the temperature is not varied; leave it out.", off=(0, 0.0)),
    "lora": Refused("adapters are not supported; leave it out.", off=([],)),
    "min_keep": Refused("samplers leave what they leave; leave it out.", off=(0,)),
    "n_indent": Refused("indentation is not enforced; use grammar.", off=(0,)),
    "post_sampling_probs": Refused(
        "only probabilities before sampling are told; leave it out.", off=(False,)
    ),
    "samplers": Refused(
        "the order of samplers is llama-server's, and is not changed; turn single ones off by their values.",
        off=(_SAMPLERS, ["penalties", *_SAMPLERS]),
    ),
    "t_max_predict_ms": Refused("answers are not cut off by time; use n_predict.", off=(0, -1)),
    "xtc_probability": Refused("XTC sampling is not supported; use min_p.", off=(0, 0.0)),
}
