"""POST /v1/responses. Nothing is kept: each request has the whole conversation."""

from flask import Blueprint, Response, request

from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.generation.order import order_of
from edged.api.generation.run import Run
from edged.api.generation.sampling import sampling_of
from edged.api.openai.effort import template_options
from edged.api.openai.responses.answer import ResponseObject
from edged.api.openai.responses.dialect import ResponsesDialect
from edged.api.openai.responses.events import Event
from edged.api.openai.responses.items import conversation
from edged.api.openai.responses.request import HARMLESS, REFUSED, ResponsesRequest, schema_of, top_logprobs
from edged.api.openai.responses.tools import offer
from edged.api.work import Api
from edged.runner import protocol

RESPONSES = Endpoint(
    method="POST",
    path="/v1/responses",
    family="openai",
    summary="Go on with a conversation, in OpenAI's newer shape.",
    request=ResponsesRequest,
    harmless=HARMLESS,
    refused=REFUSED,
    answer=ResponseObject,
    stream=Event,
    example={"model": "smollm2", "input": "What is the capital of France?", "max_output_tokens": 32},
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("responses", __name__)

    @blueprint.post(RESPONSES.path)
    @api.working
    def responses() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, RESPONSES, ResponsesRequest)
        call = api.call(wanted.model, "generate", patience, wanted.keep_alive)
        generate = generate_of(wanted)
        tools = offer(wanted.tools, wanted.tool_choice, parallel=wanted.parallel_tool_calls is not False)
        order = order_of(generate, tools, schema_of(wanted.text))
        dialect = ResponsesDialect(call.model, wanted, generate)
        return Run(api, call, dialect).answer(order, stream=bool(wanted.stream))

    return blueprint


def generate_of(wanted: ResponsesRequest) -> protocol.Generate:
    """What a runner is to do, but for tools and schemas. Raises InvalidRequest."""
    return protocol.Generate(
        id=0,
        messages=conversation(wanted.instructions, wanted.input),
        template_options=template_options(wanted.reasoning.effort if wanted.reasoning else None),
        sampling=sampling_of(wanted),
        max_tokens=wanted.max_output_tokens,
        top_logprobs=top_logprobs(wanted),
    )
