"""ollama's POST /api/generate."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.body import read_request
from edged.api.endpoint import Endpoint, Refused
from edged.api.event_stream import NDJSON
from edged.api.generation.course import Order, Ordered
from edged.api.generation.order import Offer, order_of
from edged.api.generation.run import Run
from edged.api.generation.sampling import top_logprobs_of
from edged.api.ollama import names
from edged.api.ollama.answers import GenerateAnswer, OllamaDialect, generate_answer
from edged.api.ollama.chat import TOO_LONG, Format, Logprobs, Stream, TopLogprobs, schema_of
from edged.api.ollama.loading import load_or_unload
from edged.api.ollama.options import Options, generate_of
from edged.api.ollama.thinking import Think, template_options, thinking
from edged.api.work import Api, Patience
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

_NO_IMAGES = Refused("models here do not make images; leave it out.")


class GenerateRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/generate."""

    model: fields.Model
    prompt: (
        Annotated[str, Meta(description="What the user says; without one the model is only loaded.")] | None
    ) = None
    system: Annotated[str, Meta(description="What the model is told before.")] | None = None
    raw: (
        Annotated[
            bool,
            Meta(
                description="The model goes on with the prompt as it is: no template, and control tokens may"
                " be spelled out."
            ),
        ]
        | None
    ) = None
    format: Format | None = None
    options: Annotated[Options | None, Meta(description="How to sample, and how long the answer is.")] = None
    stream: Stream | None = None
    think: Think | None = None
    logprobs: Logprobs | None = None
    top_logprobs: TopLogprobs | None = None
    keep_alive: fields.KeepAlive | None = None


GENERATE = Endpoint(
    method="POST",
    path="/api/generate",
    family="ollama",
    summary="Answer a prompt.",
    request=GenerateRequest,
    refused={
        "suffix": Refused("models here only go on with a text; leave it out.", off=("",)),
        "template": Refused("the model's own is used; with raw: true the prompt may be any text.", off=("",)),
        "context": Refused("is outdated; send the conversation to /api/chat.", off=([],)),
        "images": Refused("models here read text only; leave them out.", off=([],)),
        "width": _NO_IMAGES,
        "height": _NO_IMAGES,
        "steps": _NO_IMAGES,
        **TOO_LONG,
    },
    answer=GenerateAnswer,
    stream=GenerateAnswer,
    stream_type=NDJSON,
    example={
        "model": "smollm2",
        "prompt": "What is the capital of France?",
        "options": {"num_predict": 32},
        "stream": False,
    },
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("ollama_generate", __name__)

    @blueprint.post(GENERATE.path)
    @api.working
    def generate() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, GENERATE, GenerateRequest)
        call = api.call(names.configured(wanted.model), "generate", patience, wanted.keep_alive)
        if not wanted.prompt:
            return load_or_unload(api, call, generate_answer, wanted.model)
        dialect = OllamaDialect(wanted.model, generate_answer)
        return Run(api, call, dialect).answer(
            _order(wanted, wanted.prompt, patience), stream=wanted.stream is not False
        )

    return blueprint


def _order(wanted: GenerateRequest, prompt: str, patience: Patience) -> Order:
    """What a runner is to do. Raises InvalidRequest."""
    messages = None if wanted.raw else _messages(wanted.system, prompt)
    generate = generate_of(
        wanted.options,
        messages=messages,
        template_options=template_options(wanted.think),
        top_logprobs=top_logprobs_of(wanted.logprobs, wanted.top_logprobs),
    )
    order = order_of(generate, Offer(), schema_of(wanted.format))
    if not wanted.raw:
        return thinking(order, wanted.think)
    if wanted.system or wanted.think:
        param = "system" if wanted.system else "think"
        raise InvalidRequest(f"{param}: cannot be told without a template; leave it or raw out", param)
    return _raw(order, prompt, patience)


def _messages(system: str | None, prompt: str) -> tuple[protocol.Message, ...]:
    told = (protocol.Message("system", system),) if system else ()
    return (*told, protocol.Message("user", prompt))


def _raw(order: Order, prompt: str, patience: Patience) -> Order:
    """The same order for a prompt as it is, in which control tokens are understood."""
    asked = protocol.Tokenize(id=0, text=prompt, add_special=True, parse_special=True)

    def of_tokens(handle: RunnerHandle) -> Ordered:
        ordered = order(handle)
        tokens = handle.tokenize(asked, patience.deadline).tokens
        return Ordered(msgspec.structs.replace(ordered.generate, tokens=tokens), ordered.reader)

    return of_tokens
