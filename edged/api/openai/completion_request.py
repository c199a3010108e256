"""What POST /v1/completions takes."""

from typing import Annotated

from msgspec import Meta, Struct

from edged.api import fields
from edged.api.endpoint import Refused
from edged.api.openai.chat_request import TopLogprobs
from edged.api.openai.inputs import Input
from edged.api.openai.streaming import StreamOptions

Prompt = Annotated[
    Input,
    Meta(
        description="A text or a list of tokens, or up to 32 of these. Nothing in a text is a control token."
    ),
]


class CompletionRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A text to go on with."""

    model: fields.Model | None = None
    prompt: Prompt
    n: fields.Answers | None = None
    logprobs: Annotated[
        TopLogprobs | None,
        Meta(description="Name each token's log probability, and so many of the likeliest tokens."),
    ] = None
    max_tokens: fields.MaxTokens | None = None
    stop: fields.Stop | None = None
    stream: fields.Stream | None = None
    stream_options: Annotated[StreamOptions | None, Meta(description="What a stream says.")] = None
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
    logit_bias: fields.LogitBias | None = None
    seed: fields.Seed | None = None
    grammar: fields.Grammar | None = None
    json_schema: fields.JsonSchema = None
    ignore_eos: fields.IgnoreEos | None = None
    cache_prompt: fields.CachePrompt | None = None
    keep_alive: fields.KeepAlive | None = None


HARMLESS = {"user": "Nobody is watched here."}
REFUSED = {
    "best_of": Refused("choosing among answers is not supported; send n, and choose.", off=(1,)),
    "echo": Refused("the prompt is not repeated; put it in front of the answer.", off=(False,)),
    "suffix": Refused("filling in is not supported; leave it out.", off=("",)),
}
