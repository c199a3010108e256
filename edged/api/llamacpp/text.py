"""llama.cpp's POST /tokenize, /detokenize and /apply-template: what a model makes of texts."""

from collections.abc import Callable, Sized
from typing import Annotated, Any, TypeVar

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api import fields
from edged.api.answer import json_answer
from edged.api.body import read_request
from edged.api.endpoint import Endpoint
from edged.api.generation.thinking import template_options
from edged.api.llamacpp.which import model_of, vocabulary_of
from edged.api.openai.inputs import Token
from edged.api.openai.messages import Message, conversation
from edged.api.openai.tools import Tool, offer
from edged.api.ready import Asking
from edged.api.work import Api, Call
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle
from edged.runner import protocol

_Answer = TypeVar("_Answer")
_MOST = 1_000_000  # a second's work, in which the runner hears of no other request


class TokenizeRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A text."""

    model: fields.OneModel | None = None
    content: Annotated[str, Meta(description="The text, of up to a million characters.")]
    add_special: Annotated[
        bool | None, Meta(description="Put what the model begins a text with in front; false by default.")
    ] = None
    parse_special: Annotated[
        bool | None, Meta(description="Understand control tokens that are spelled out; true by default.")
    ] = None
    with_pieces: Annotated[bool | None, Meta(description="Say each token's text too.")] = None
    keep_alive: fields.KeepAlive | None = None


class TokenPiece(Struct, frozen=True, kw_only=True):
    """A token and its text; a part of a character has only bytes."""

    id: int
    piece: str | tuple[int, ...]


class Tokenized(Struct, frozen=True, kw_only=True):
    """The text's tokens."""

    tokens: tuple[int | TokenPiece, ...]


class DetokenizeRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Tokens."""

    model: fields.OneModel | None = None
    tokens: Annotated[list[Token], Meta(description="The tokens by number, up to a million.")]
    keep_alive: fields.KeepAlive | None = None


class Detokenized(Struct, frozen=True, kw_only=True):
    """The tokens' text."""

    content: str


class TemplateRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A conversation, as /v1/chat/completions takes it."""

    model: fields.OneModel | None = None
    messages: Annotated[list[Message], Meta(description="The conversation so far.")]
    tools: Annotated[list[Tool] | None, Meta(description="Functions that the model may call.")] = None
    add_generation_prompt: Annotated[
        bool | None, Meta(description="End with what begins the model's turn; true by default.")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="More variables for the template.")
    ] = None
    keep_alive: fields.KeepAlive | None = None


class Templated(Struct, frozen=True, kw_only=True):
    """What the model would go on with."""

    prompt: str


TOKENIZE = Endpoint(
    method="POST",
    path="/tokenize",
    family="llama.cpp",
    summary="The tokens of a text.",
    request=TokenizeRequest,
    answer=Tokenized,
    example={"content": "Hello world", "with_pieces": True},
)
DETOKENIZE = Endpoint(
    method="POST",
    path="/detokenize",
    family="llama.cpp",
    summary="The text of tokens.",
    request=DetokenizeRequest,
    answer=Detokenized,
    example={"tokens": [72, 105]},
)
APPLY_TEMPLATE = Endpoint(
    method="POST",
    path="/apply-template",
    family="llama.cpp",
    summary="The prompt that a conversation becomes, for /completion.",
    request=TemplateRequest,
    answer=Templated,
    example={"messages": [{"role": "user", "content": "Hello"}]},
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("llamacpp_text", __name__)

    def asked(call: Call, ask: Callable[[RunnerHandle, float], _Answer]) -> _Answer:
        return Asking(api, call, lambda handle: ask(handle, call.patience.deadline)).wait()

    @blueprint.post(TOKENIZE.path)
    @api.working
    def tokenize() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, TOKENIZE, TokenizeRequest)
        _check_length(wanted.content, "content")
        call = api.call(vocabulary_of(api, wanted.model), None, patience, wanted.keep_alive)
        frame = protocol.Tokenize(
            id=0,
            text=wanted.content,
            add_special=bool(wanted.add_special),
            parse_special=wanted.parse_special is not False,
            pieces=bool(wanted.with_pieces),
        )
        found = asked(call, lambda handle, deadline: handle.tokenize(frame, deadline))
        if not wanted.with_pieces:
            return json_answer(Tokenized(tokens=found.tokens))
        pieces = zip(found.tokens, found.pieces, strict=True)
        return json_answer(
            Tokenized(tokens=tuple(TokenPiece(id=token, piece=_text(piece)) for token, piece in pieces))
        )

    @blueprint.post(DETOKENIZE.path)
    @api.working
    def detokenize() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, DETOKENIZE, DetokenizeRequest)
        _check_length(wanted.tokens, "tokens")
        call = api.call(vocabulary_of(api, wanted.model), None, patience, wanted.keep_alive)
        frame = protocol.Detokenize(id=0, tokens=tuple(wanted.tokens))
        return json_answer(
            Detokenized(content=asked(call, lambda handle, deadline: handle.text(frame, deadline)))
        )

    @blueprint.post(APPLY_TEMPLATE.path)
    @api.working
    def apply_template() -> Response:
        patience = api.patience(request.environ)
        wanted = read_request(request.environ, APPLY_TEMPLATE, TemplateRequest)
        call = api.call(model_of(api, wanted.model, "generate"), "generate", patience, wanted.keep_alive)
        frame = protocol.Render(
            id=0,
            messages=conversation(wanted.messages),
            tools=offer(wanted.tools, None, parallel=True).tools,
            template_options=template_options(None, more=wanted.chat_template_kwargs),
            add_generation_prompt=wanted.add_generation_prompt is not False,
        )
        return json_answer(
            Templated(prompt=asked(call, lambda handle, deadline: handle.text(frame, deadline)))
        )

    return blueprint


def _check_length(given: Sized, name: str) -> None:
    if len(given) > _MOST:
        raise InvalidRequest(f"{name}: {len(given)} at once, at most {_MOST} are accepted; send parts", name)


def _text(piece: bytes) -> str | tuple[int, ...]:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return tuple(piece)
