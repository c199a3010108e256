"""POST /v1/completions."""

import msgspec
from flask import Blueprint, Response, request

from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.generation.course import Ordered
from edged.api.generation.events import PlainReader
from edged.api.generation.run import Run
from edged.api.generation.sampling import sampling_of, stops_of
from edged.api.openai.completion_answer import Completion, CompletionDialect
from edged.api.openai.completion_request import HARMLESS, REFUSED, CompletionRequest
from edged.api.openai.inputs import inputs_of
from edged.api.openai.response_format import given, grammar
from edged.api.openai.streaming import LAST, wants_usage
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.runner import protocol

_MAX_PROMPTS = 32

COMPLETIONS = Endpoint(
    method="POST",
    path="/v1/completions",
    family="openai",
    summary="Go on with a text.",
    request=CompletionRequest,
    harmless=HARMLESS,
    refused=REFUSED,
    answer=Completion,
    stream=Completion,
    stream_end=LAST,
    example={"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8},
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("completions", __name__)

    @blueprint.post(COMPLETIONS.path)
    @api.working
    def completions() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, COMPLETIONS, CompletionRequest)
        call = api.call(wanted.model, "generate", patience, wanted.keep_alive)
        ordered = ordered_of(wanted)
        dialect = CompletionDialect(
            call.model,
            logprobs=wanted.logprobs is not None,
            include_usage=wants_usage(wanted.stream_options),
        )
        return Run(api, call, dialect).answer(lambda _: ordered, stream=bool(wanted.stream))

    return blueprint


def ordered_of(wanted: CompletionRequest) -> Ordered:
    """What a runner is to do: one generation for each prompt. Raises InvalidRequest."""
    texts, token_lists = inputs_of(wanted.prompt, "prompt")
    if len(texts) + len(token_lists) > _MAX_PROMPTS:
        raise InvalidRequest(
            f"prompt: at most {_MAX_PROMPTS} prompts are accepted; send several requests", "prompt"
        )
    shape = grammar(wanted.grammar, given(wanted.json_schema))
    usual = protocol.Generate(
        id=0,
        sampling=msgspec.structs.replace(sampling_of(wanted), grammar=shape),
        max_tokens=wanted.max_tokens,
        stop=stops_of(wanted.stop),
        cache_prompt=wanted.cache_prompt is not False,
        n=wanted.n or 1,
        top_logprobs=wanted.logprobs,
    )
    first, *others = (
        *(msgspec.structs.replace(usual, text=text) for text in texts),
        *(msgspec.structs.replace(usual, tokens=tokens) for tokens in token_lists),
    )
    return Ordered(first, lambda _: PlainReader(), tuple(others))
