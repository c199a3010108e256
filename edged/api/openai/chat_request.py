"""What POST /v1/chat/completions takes."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from edged.api import fields
from edged.api.endpoint import Refused
from edged.api.openai.effort import Effort
from edged.api.openai.messages import Message
from edged.api.openai.response_format import ResponseFormat
from edged.api.openai.streaming import StreamOptions
from edged.api.openai.tools import Choice, Tool

TopLogprobs = Annotated[int, Meta(ge=0, le=20)]


class ChatRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A conversation to go on with."""

    model: fields.Model | None = None
    messages: Annotated[
        list[Message],
        Meta(description="The conversation so far.", extra_json_schema={"minItems": 1}),
    ]
    tools: Annotated[list[Tool] | None, Meta(description="Functions that the model may call.")] = None
    tool_choice: Choice | None = None
    parallel_tool_calls: Annotated[
        bool | None, Meta(description="Whether one answer may have several calls; true by default.")
    ] = None
    response_format: Annotated[
        ResponseFormat | None, Meta(description="Text, or JSON that a schema describes; it is held to.")
    ] = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="More variables for the model's chat template (llama.cpp's).")
    ] = None
    n: fields.Answers | None = None
    logprobs: Annotated[
        bool | None, Meta(description="Name the log probability of each token of the answer.")
    ] = None
    top_logprobs: Annotated[
        TopLogprobs | None, Meta(description="How many of the likeliest tokens to name; needs logprobs.")
    ] = None
    max_completion_tokens: fields.MaxTokens | None = None
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


HARMLESS = {
    "metadata": "Labels for OpenAI's dashboard; nothing is kept here.",
    "prediction": "A hint that only saves time at OpenAI.",
    "prompt_cache_key": "What was computed of the same beginning is found without it.",
    "prompt_cache_options": "What was computed of the same beginning is kept as long as there is room.",
    "prompt_cache_retention": "What was computed of the same beginning is kept as long as there is room.",
    "safety_identifier": "Nobody is watched here.",
    "service_tier": "There is one.",
    "store": "Nothing is kept here; the answer is the same.",
    "user": "Nobody is watched here.",
}
REFUSED = {
    "audio": Refused("models here write text only; leave it out."),
    "function_call": Refused("is outdated; send tool_choice.", off=("none", "auto")),
    "functions": Refused("is outdated; send tools.", off=([],)),
    "modalities": Refused("models here write text only; leave it out.", off=(["text"],)),
    "moderation": Refused("there is no moderation here; leave it out."),
    "verbosity": Refused("models here have no such setting; ask for it in a message.", off=("medium",)),
    "web_search_options": Refused("there is no web search here; leave it out."),
}
