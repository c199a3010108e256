"""What POST /v1/responses takes."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edged.api import fields
from edged.api.endpoint import Refused
from edged.api.generation.order import Schema
from edged.api.openai.chat_request import TopLogprobs
from edged.api.openai.effort import Effort
from edged.api.openai.response_format import ANY_OBJECT, FormatType, Harmless, JsonSchema, Name
from edged.api.openai.responses.items import Item
from edged.api.openai.responses.tools import Choice, Tool
from edged.errors import InvalidRequest

LOGPROBS = "message.output_text.logprobs"


class TextFormat(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the answer must look like; a schema is held to, `strict` or not."""

    type: FormatType
    name: Name | None = None
    schema: JsonSchema = None
    description: Harmless = None
    strict: Annotated[bool | None, Meta(description="Changes nothing: it is held to anyway.")] = None


class TextConfig(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`text`."""

    format: Annotated[TextFormat | None, Meta(description="Text, or JSON.")] = None
    verbosity: Annotated[Literal["medium"] | None, Meta(description="Models here have no such setting.")] = (
        None
    )


class Reasoning(Struct, kw_only=True, forbid_unknown_fields=True):
    """`reasoning`."""

    effort: Effort | None = None
    summary: Annotated[
        Literal["auto", "concise", "detailed"] | None,
        Meta(description="Changes nothing: reasoning is given as it is."),
    ] = None
    generate_summary: Annotated[
        Literal["auto", "concise", "detailed"] | None, Meta(description="The older name of summary.")
    ] = None


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """`stream_options`."""

    include_obfuscation: Annotated[
        bool | None, Meta(description="Changes nothing: nothing is padded here.")
    ] = None


class ResponsesRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to answer to. Nothing is kept: each request has the whole conversation."""

    model: fields.Model | None = None
    input: Annotated[
        str | list[Item], Meta(description="A message of the user's, or the conversation so far.")
    ]
    instructions: Annotated[str | None, Meta(description="A system message in front of the input.")] = None
    tools: Annotated[list[Tool] | None, Meta(description="Functions that the model may call.")] = None
    tool_choice: Choice | None = None
    parallel_tool_calls: Annotated[
        bool | None, Meta(description="Whether one answer may have several calls; true by default.")
    ] = None
    text: Annotated[
        TextConfig | None, Meta(description="Text, or JSON that a schema describes; it is held to.")
    ] = None
    reasoning: Annotated[Reasoning | None, Meta(description="How much the model thinks.")] = None
    include: Annotated[
        list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None,
        Meta(description="Log probabilities; reasoning is always there, and never encrypted."),
    ] = None
    top_logprobs: Annotated[
        TopLogprobs | None, Meta(description="How many of the likeliest tokens to name beside each.")
    ] = None
    max_output_tokens: fields.MaxTokens | None = None
    metadata: Annotated[
        Annotated[dict[str, str], Meta(max_length=16)] | None,
        Meta(description="Labels, which the answer repeats."),
    ] = None
    stream: fields.Stream | None = None
    stream_options: Annotated[StreamOptions | None, Meta(description="What a stream says.")] = None
    temperature: fields.Temperature | None = None
    top_p: fields.TopP | None = None
    keep_alive: fields.KeepAlive | None = None


HARMLESS = {
    "max_tool_calls": "It counts calls of OpenAI's own tools, of which there are none here.",
    "prompt_cache_key": "What was computed of the same beginning is found without it.",
    "prompt_cache_options": "What was computed of the same beginning is kept as long as there is room.",
    "prompt_cache_retention": "What was computed of the same beginning is kept as long as there is room.",
    "safety_identifier": "Nobody is watched here.",
    "service_tier": "There is one.",
    "user": "Nobody is watched here.",
}
REFUSED = {
    "access_programs": Refused("there are none here; leave it out."),
    "background": Refused("answers are given at once; stream them if they take long.", off=(False,)),
    "background_options": Refused("answers are given at once; leave it out."),
    "context_management": Refused("conversations are not shortened; send what is to be read.", off=([],)),
    "conversation": Refused("conversations are not kept; send the whole of it as input."),
    "image": Refused("models here read text only; leave it out."),
    "moderation": Refused("there is no moderation here; leave it out."),
    "previous_response_id": Refused("answers are not kept; send the whole conversation as input."),
    "prompt": Refused("there are no stored prompts; send instructions and input."),
    "store": Refused("answers are not kept; send false, or leave it out.", off=(False,)),
    "truncation": Refused("inputs are not cut; shorten what is too long.", off=("disabled",)),
}


def schema_of(wanted: TextConfig | None) -> Schema | None:
    """The schema that `text.format` asks for. Raises InvalidRequest."""
    format_ = wanted.format if wanted is not None else None
    if format_ is None or format_.type == "text":
        return None
    if format_.type == "json_object":
        return ANY_OBJECT, "text.format"
    if format_.schema is None:
        raise InvalidRequest("text.format.schema: is missing", "text.format.schema")
    return format_.schema, "text.format.schema"


def top_logprobs(wanted: ResponsesRequest) -> int | None:
    """How many of the likeliest tokens to name; None: no log probabilities."""
    if LOGPROBS in (wanted.include or ()):
        return wanted.top_logprobs or 0
    return wanted.top_logprobs or None
