"""ollama's POST /api/chat."""

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.body import read_request
from edged.api.endpoint import Endpoint, Refused
from edged.api.event_stream import NDJSON
from edged.api.generation.order import Schema, order_of
from edged.api.generation.run import Run
from edged.api.generation.sampling import top_logprobs_of
from edged.api.ollama import names
from edged.api.ollama.answers import ChatAnswer, OllamaDialect, chat_answer
from edged.api.ollama.loading import load_or_unload
from edged.api.ollama.messages import Message, Tool, conversation, offer
from edged.api.ollama.options import Options, generate_of
from edged.api.ollama.thinking import Think, template_options, thinking
from edged.api.openai.response_format import ANY_OBJECT
from edged.api.work import Api

Format = Annotated[
    Literal["", "json"] | dict[str, Any],
    Meta(description="`json`, or a JSON schema; the answer is held to it."),
]
Stream = Annotated[bool, Meta(description="Send the answer line by line; true by default.")]
Logprobs = Annotated[bool, Meta(description="Name the log probability of each token of the answer.")]
TopLogprobs = Annotated[
    int, Meta(ge=0, le=20, description="How many of the likeliest tokens to name; needs logprobs.")
]
TOO_LONG = {
    "truncate": Refused("what does not fit is refused, never cut; leave it out.", off=(False,)),
    "shift": Refused("an answer ends with the context; leave it out.", off=(False,)),
}


class ChatRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/chat."""

    model: fields.Model
    messages: (
        Annotated[list[Message], Meta(description="The conversation so far; none only loads the model.")]
        | None
    ) = None
    tools: Annotated[list[Tool], Meta(description="Functions that the model may call.")] | None = None
    format: Format | None = None
    options: Annotated[Options | None, Meta(description="How to sample, and how long the answer is.")] = None
    stream: Stream | None = None
    think: Think | None = None
    logprobs: Logprobs | None = None
    top_logprobs: TopLogprobs | None = None
    keep_alive: fields.KeepAlive | None = None


CHAT = Endpoint(
    method="POST",
    path="/api/chat",
    family="ollama",
    summary="Go on with a conversation.",
    request=ChatRequest,
    refused=TOO_LONG,
    answer=ChatAnswer,
    stream=ChatAnswer,
    stream_type=NDJSON,
    example={
        "model": "smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "options": {"num_predict": 32},
        "stream": False,
    },
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("ollama_chat", __name__)

    @blueprint.post(CHAT.path)
    @api.working
    def chat() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, CHAT, ChatRequest)
        call = api.call(names.configured(wanted.model), "generate", patience, wanted.keep_alive)
        if not wanted.messages:
            return load_or_unload(api, call, chat_answer, wanted.model)
        generate = generate_of(
            wanted.options,
            messages=conversation(wanted.messages),
            template_options=template_options(wanted.think),
            top_logprobs=top_logprobs_of(wanted.logprobs, wanted.top_logprobs),
        )
        order = order_of(generate, offer(wanted.tools), schema_of(wanted.format))
        dialect = OllamaDialect(wanted.model, chat_answer)
        return Run(api, call, dialect).answer(
            thinking(order, wanted.think), stream=wanted.stream is not False
        )

    return blueprint


def schema_of(wanted: Format | None) -> Schema | None:
    """The schema that a format asks for, and where it stands."""
    if not wanted and not isinstance(wanted, dict):
        return None
    return (ANY_OBJECT if wanted == "json" else wanted), "format"
