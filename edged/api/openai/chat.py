"""POST /v1/chat/completions."""

from flask import Blueprint, Response, request

from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.generation.order import order_of
from edged.api.generation.run import Run
from edged.api.generation.sampling import sampling_of, stops_of, top_logprobs_of
from edged.api.openai.chat_answer import ChatChunk, ChatCompletion, ChatDialect
from edged.api.openai.chat_request import HARMLESS, REFUSED, ChatRequest
from edged.api.openai.effort import template_options
from edged.api.openai.messages import conversation
from edged.api.openai.response_format import given, only, schema_of
from edged.api.openai.streaming import LAST, wants_usage
from edged.api.openai.tools import offer
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.runner import protocol

CHAT = Endpoint(
    method="POST",
    path="/v1/chat/completions",
    family="openai",
    summary="Go on with a conversation.",
    request=ChatRequest,
    harmless=HARMLESS,
    refused=REFUSED,
    answer=ChatCompletion,
    stream=ChatChunk,
    stream_end=LAST,
    example={
        "model": "smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
    },
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("chat", __name__)

    @blueprint.post(CHAT.path)
    @api.working
    def chat() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, CHAT, ChatRequest)
        call = api.call(wanted.model, "generate", patience, wanted.keep_alive)
        generate = generate_of(wanted)
        dialect = ChatDialect(
            call.model,
            generate.n,
            logprobs=generate.top_logprobs is not None,
            include_usage=wants_usage(wanted.stream_options),
        )
        tools = offer(wanted.tools, wanted.tool_choice, parallel=wanted.parallel_tool_calls is not False)
        schema = only(wanted.grammar, schema_of(wanted.response_format), given(wanted.json_schema))
        order = order_of(generate, tools, schema)
        return Run(api, call, dialect).answer(order, stream=bool(wanted.stream))

    return blueprint


def generate_of(wanted: ChatRequest) -> protocol.Generate:
    """What a runner is to do, but for tools and schemas. Raises InvalidRequest."""
    return protocol.Generate(
        id=0,
        messages=conversation(wanted.messages),
        template_options=template_options(wanted.reasoning_effort, wanted.chat_template_kwargs),
        sampling=sampling_of(wanted),
        max_tokens=_max_tokens(wanted),
        stop=stops_of(wanted.stop),
        cache_prompt=wanted.cache_prompt is not False,
        n=wanted.n or 1,
        top_logprobs=top_logprobs_of(wanted.logprobs, wanted.top_logprobs),
    )


def _max_tokens(wanted: ChatRequest) -> int | None:
    """By its newer name or its older one. Raises InvalidRequest."""
    older, newer = wanted.max_tokens, wanted.max_completion_tokens
    if None not in (older, newer) and older != newer:
        raise InvalidRequest(
            "max_tokens: differs from max_completion_tokens, which is its newer name; send one", "max_tokens"
        )
    return older if newer is None else newer
