"""llama.cpp's POST /completion, which has /completions as another name."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence

import msgspec
from flask import Blueprint, Response, request

from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.errors import Unsupported
from edged.api.generation.course import Ordered
from edged.api.generation.events import PlainReader
from edged.api.generation.run import Run
from edged.api.generation.sampling import sampling_of, stops_of
from edged.api.llamacpp.completion_answer import (
    Completion,
    CompletionDialect,
    Prompted,
    settings_of,
)
from edged.api.llamacpp.completion_request import (
    HARMLESS,
    REFUSED,
    Biases,
    CompletionRequest,
    Prompt,
    PromptObject,
)
from edged.api.llamacpp.which import model_of
from edged.api.openai.response_format import given, grammar
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

Pieces = Sequence[str | int]  # of one prompt, texts and tokens in their order
_NUMBER = re.compile("[0-9]{1,9}")
_MAX_BIASES = 1024  # every step looks at all of them, for all who share the batch

COMPLETION = Endpoint(
    method="POST",
    path="/completion",
    family="llama.cpp",
    summary="Go on with a prompt in which control tokens may be spelled out.",
    request=CompletionRequest,
    harmless=HARMLESS,
    refused=REFUSED,
    answer=Completion | list[Completion],
    stream=Completion,
    example={"prompt": "Once upon a time", "n_predict": 16},
)
COMPLETIONS = msgspec.structs.replace(COMPLETION, path="/completions", summary="Another name of /completion.")


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("llamacpp_completion", __name__)

    @blueprint.post(COMPLETION.path)
    @blueprint.post(COMPLETIONS.path)
    @api.working
    def completion() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, COMPLETION, CompletionRequest)
        model = model_of(api, wanted.model, "generate")
        call = api.call(model, "generate", patience, wanted.keep_alive)
        generate, prompt = _generate(wanted), pieces_of(wanted.prompt)
        settings = settings_of(generate, stream=bool(wanted.stream))
        dialect = CompletionDialect(call.model, settings, wanted.response_fields or ())

        def order(handle: RunnerHandle) -> Ordered:
            tokens = _tokens(handle, prompt, patience.deadline)
            text = _text(handle, prompt, tokens, patience.deadline)
            dialect.prompted = Prompted(text, len(tokens), handle.status().n_ctx or 0)
            biases = _biases(handle, wanted.logit_bias, patience.deadline)
            sampling = msgspec.structs.replace(generate.sampling, logit_bias=biases)
            return Ordered(
                msgspec.structs.replace(generate, tokens=tokens, sampling=sampling), lambda _: PlainReader()
            )

        return Run(api, call, dialect).answer(order, stream=bool(wanted.stream))

    return blueprint


def pieces_of(prompt: Prompt) -> Pieces:
    """The one prompt of a request, by its texts and tokens. Raises InvalidRequest, Unsupported."""
    if not isinstance(prompt, list):
        return (_written(prompt),)
    whole = [each for each in prompt if not isinstance(each, int)]  # prompts, or texts among tokens
    if len(whole) < len(prompt):
        pieces = [each for each in prompt if isinstance(each, str | int)]
        if len(pieces) < len(prompt):
            raise InvalidRequest("prompt: mixes tokens and whole prompts; send one kind", "prompt")
        return pieces
    if len(whole) != 1:
        raise Unsupported("prompt: one prompt per request is supported; send several requests", "prompt")
    [only] = whole
    return only if isinstance(only, list) else (_written(only),)


def _written(prompt: str | PromptObject) -> str:
    if isinstance(prompt, str):
        return prompt
    if prompt.multimodal_data:
        raise Unsupported("prompt.multimodal_data: models here read text only; leave it out", "prompt")
    return prompt.prompt_string


def _generate(wanted: CompletionRequest) -> protocol.Generate:
    """What a runner is to do, but for what its vocabulary has to say. Raises InvalidRequest."""
    if wanted.n_predict == 0:
        raise InvalidRequest("n_predict: is 0; 1 leaves the prompt in the cache as well", "n_predict")
    shape = grammar(wanted.grammar or None, given(wanted.json_schema))
    sampling = msgspec.structs.replace(sampling_of(wanted), grammar=shape, logit_bias={})
    return protocol.Generate(
        id=0,
        sampling=sampling,
        max_tokens=None if wanted.n_predict == -1 else wanted.n_predict,
        stop=stops_of(wanted.stop),
        cache_prompt=wanted.cache_prompt is not False,
        n=wanted.n_cmpl or 1,
        top_logprobs=wanted.n_probs or None,
        tell_tokens=bool(wanted.return_tokens or wanted.stream),
    )


def _tokens(handle: RunnerHandle, prompt: Pieces, deadline: float) -> tuple[int, ...]:
    """As llama.cpp's server has it: what begins a text is put in front, and control tokens are understood."""

    def of(piece: str | int, *, first: bool) -> tuple[int, ...]:
        if isinstance(piece, int):
            return (piece,)
        asked = protocol.Tokenize(id=0, text=piece, add_special=first, parse_special=True)
        return handle.tokenize(asked, deadline).tokens

    found = (of(piece, first=index == 0) for index, piece in enumerate(prompt))
    return tuple(itertools.chain.from_iterable(found))


def _text(handle: RunnerHandle, prompt: Pieces, tokens: tuple[int, ...], deadline: float) -> str:
    """The prompt as a text."""
    texts = [piece for piece in prompt if isinstance(piece, str)]
    if len(texts) == len(prompt) or not tokens:
        return "".join(texts)
    return handle.text(protocol.Detokenize(id=0, tokens=tokens), deadline)


def _biases(handle: RunnerHandle, wanted: Biases | None, deadline: float) -> dict[int, float]:
    """By token; those of a text are each of its tokens'. Raises InvalidRequest."""
    biases: dict[int, float] = {}
    for key, bias in _pairs(wanted):
        if bias is True:
            raise InvalidRequest("logit_bias: true is no bias; send a number, or false", "logit_bias")
        biases |= dict.fromkeys(_meant(handle, key, deadline), -math.inf if bias is False else bias)
    if len(biases) > _MAX_BIASES:
        raise InvalidRequest(
            f"logit_bias: is about {len(biases)} tokens, at most {_MAX_BIASES} are accepted", "logit_bias"
        )
    return biases


def _pairs(wanted: Biases | None) -> Iterator[tuple[str | int, float]]:
    """An object's keys are texts: those that are numbers mean tokens."""
    if isinstance(wanted, list):
        yield from wanted
    for key, bias in wanted.items() if isinstance(wanted, dict) else ():
        yield (int(key) if _NUMBER.fullmatch(key) else key), bias


def _meant(handle: RunnerHandle, key: str | int, deadline: float) -> tuple[int, ...]:
    """The tokens that a bias is about."""
    if isinstance(key, int):
        return (key,)
    return handle.tokenize(protocol.Tokenize(id=0, text=key), deadline).tokens
