"""POST /v1/completions."""

from typing import Any

from flask import Blueprint, Response, request

from edged.api.body import Fields, drop_harmless, read_fields
from edged.api.errors import Unsupported
from edged.api.generation.course import Ordered
from edged.api.generation.events import PlainReader
from edged.api.generation.run import Run
from edged.api.openai.generation import Completion, StreamOptions, Style, take_stream
from edged.api.openai.inputs import is_token_list, token_list
from edged.api.openai.logprobs import text_logprobs
from edged.api.openai.response_format import take_text_format
from edged.api.openai.sampling import take_cache_prompt, take_length, take_sampling, take_text_answers
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.runner import protocol

_IGNORED = frozenset({"user"})
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}

_STYLE = Style(
    id_prefix="cmpl-",
    object="text_completion",
    chunk_object="text_completion",
    whole=lambda text: {"text": text},
    piece=lambda text: {"text": text},
    opening=None,
    logprobs=text_logprobs,
)


def routes(api: Api) -> Blueprint:
    """The endpoint."""
    blueprint = Blueprint("completions", __name__)

    @blueprint.post("/v1/completions")
    @api.working
    def completions() -> Response:
        patience = api.patience(request.environ)
        fields = read_fields(request.environ)
        call = api.call(fields.pop("model", None), "generate", patience, fields.pop("keep_alive", None))
        drop_harmless(fields, _IGNORED, _NEUTRAL)
        sampling = take_text_format(fields, take_sampling(fields))
        n, top_logprobs = take_text_answers(fields)
        max_tokens, stop = take_length(fields)
        cache_prompt = take_cache_prompt(fields)
        text, tokens = take_prompt(fields)
        stream = take_stream(fields)
        generate = protocol.Generate(
            id=0,
            text=text,
            tokens=tokens,
            sampling=sampling,
            max_tokens=max_tokens,
            stop=stop,
            cache_prompt=cache_prompt,
            n=n,
            top_logprobs=top_logprobs,
        )
        options = stream.stream_options or StreamOptions()
        dialect = Completion(_STYLE, call.model, generate, include_usage=bool(options.include_usage))
        ordered = Ordered(generate, lambda _: PlainReader())
        return Run(api, call, dialect).answer(lambda _: ordered, stream=bool(stream.stream))

    return blueprint


def take_prompt(fields: Fields) -> tuple[str | None, tuple[int, ...] | None]:
    """The prompt, removed from `fields`: a text or tokens, also in a list of one. Raises InvalidRequest."""
    if "prompt" not in fields:
        raise InvalidRequest("prompt: is missing", "prompt")
    prompt = fields.pop("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    elif isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        raise Unsupported("prompt: one prompt per request is supported", "prompt")
    if isinstance(prompt, str) and prompt:
        return prompt, None
    if is_token_list(prompt):
        return None, token_list(prompt, "prompt", "prompt")
    raise InvalidRequest("prompt: is neither a text of at least one character nor a list of tokens", "prompt")
