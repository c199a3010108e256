"""Fields that chat and text completions share: how to sample, how long, and where to stop."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from edged.api.body import Fields, convert, take
from edged.errors import InvalidRequest
from edged.runner import protocol

_MAX_ANSWERS = 128  # OpenAI's own bound; how many find a place is the runner's to know
_MAX_TOP_LOGPROBS = 20
_MAX_STOPS = 16
_MAX_STOP_CHARACTERS = 256

_INT32 = 2**31 - 1
_Share = Annotated[float, Meta(ge=0, le=1)] | None
_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
# Every step looks at all of them, for all who share the batch.
_Biases = Annotated[
    dict[Annotated[int, Meta(ge=0, le=_INT32)], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=1024),
]
# An upper bound: a number beyond the context is no error, the answer then ends with the context ("length").
_MaxTokens = Annotated[int, Meta(ge=1, le=_INT32)] | None


class SamplingFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """Each is a field of `protocol.Sampling`, with its range; None is its default there."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=_INT32)] | None = None
    top_p: _Share = None
    min_p: _Share = None
    typical_p: _Share = None
    repeat_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=0, le=65536)] | None = None
    presence_penalty: _Penalty = None
    frequency_penalty: _Penalty = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | None = None
    mirostat_eta: Annotated[float, Meta(ge=0, le=1)] | None = None
    logit_bias: _Biases | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    grammar: str | None = None
    ignore_eos: bool | None = None


class ChatAnswerFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """How many answers, and what is told of their tokens."""

    n: Annotated[int, Meta(ge=1, le=_MAX_ANSWERS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None


class TextAnswerFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """The same for text completions, where `logprobs` is itself the number."""

    n: Annotated[int, Meta(ge=1, le=_MAX_ANSWERS)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None


class LengthFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """How long, and where to stop."""

    max_tokens: _MaxTokens = None
    max_completion_tokens: _MaxTokens = None
    stop: str | list[str] | None = None


class PromptFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """llama.cpp's: whether what was computed of the same beginning before is used."""

    cache_prompt: bool | None = None


def take_cache_prompt(fields: Fields) -> bool:
    """`cache_prompt`, removed from `fields`. Raises InvalidRequest."""
    return convert(take(fields, PromptFields.__struct_fields__), PromptFields).cache_prompt is not False


def take_sampling(fields: Fields) -> protocol.Sampling:
    """The sampling fields, removed from `fields`. Raises InvalidRequest."""
    wanted = convert(take(fields, SamplingFields.__struct_fields__), SamplingFields)
    given: dict[str, Any] = {
        name: value
        for name in SamplingFields.__struct_fields__
        if (value := getattr(wanted, name)) is not None
    }
    return protocol.Sampling(**given)


def take_chat_answers(fields: Fields) -> tuple[int, int | None]:
    """`n`, and how many of the likeliest tokens to name (None: no logprobs). Raises InvalidRequest."""
    wanted = convert(take(fields, ChatAnswerFields.__struct_fields__), ChatAnswerFields)
    if wanted.top_logprobs and not wanted.logprobs:
        raise InvalidRequest("top_logprobs: needs logprobs: true", "top_logprobs")
    return wanted.n or 1, (wanted.top_logprobs or 0) if wanted.logprobs else None


def take_text_answers(fields: Fields) -> tuple[int, int | None]:
    """The same for a text completion. Raises InvalidRequest."""
    wanted = convert(take(fields, TextAnswerFields.__struct_fields__), TextAnswerFields)
    return wanted.n or 1, wanted.logprobs


def take_length(fields: Fields) -> tuple[int | None, tuple[str, ...]]:
    """max_tokens and the stop strings, removed from `fields`. Raises InvalidRequest."""
    wanted = convert(take(fields, LengthFields.__struct_fields__), LengthFields)
    most = {wanted.max_tokens, wanted.max_completion_tokens} - {None}
    if len(most) > 1:
        raise InvalidRequest(
            "max_tokens: differs from max_completion_tokens, which is its newer name; send one", "max_tokens"
        )
    stops = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop or []
    if len(stops) > _MAX_STOPS:
        raise InvalidRequest(f"stop: {len(stops)} strings, at most {_MAX_STOPS} are accepted", "stop")
    for index, stop in enumerate(stops):
        if not 1 <= len(stop) <= _MAX_STOP_CHARACTERS:
            raise InvalidRequest(
                f"stop[{index}]: {len(stop)} characters, 1 to {_MAX_STOP_CHARACTERS} are accepted", "stop"
            )
    return next(iter(most), None), tuple(stops)
