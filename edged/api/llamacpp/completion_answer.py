"""Completions as llama.cpp's server writes them, whole and piece by piece."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edged.api.event_stream import EVENT_STREAM, comment, event
from edged.api.generation.events import Answer, Piece, Told
from edged.api.openai.streaming import error_event
from edged.errors import EdgedError
from edged.runner import protocol

StopType = Literal["eos", "limit", "word"]


class LikelyToken(Struct, frozen=True, kw_only=True):
    """A token that was likely."""

    id: int
    token: str
    bytes: tuple[int, ...]
    logprob: float


class TokenProbability(Struct, frozen=True, kw_only=True):
    """A token of the answer, and the likeliest in its place."""

    id: int
    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[LikelyToken, ...]


class Timings(Struct, frozen=True, kw_only=True):
    """How long the prompt and the answer took."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class Settings(Struct, frozen=True, kw_only=True):
    """What a completion is made by."""

    n_predict: int = -1
    seed: int = -1
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    ignore_eos: bool
    grammar: str
    stop: tuple[str, ...] = ()
    stream: bool = True
    n_probs: int = 0


class Completion(Struct, frozen=True, kw_only=True):
    """An answer, or what it gains; the end of a stream has no text, since that was sent before.

    Pieces have the fields up to `tokens_evaluated`, and all have only those of `response_fields`, if any.
    """

    index: int | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tokens: tuple[int, ...] | UnsetType = ()
    stop: bool | UnsetType = UNSET
    id_slot: int | UnsetType = -1
    tokens_predicted: int | UnsetType = UNSET
    tokens_evaluated: int | UnsetType = UNSET
    completion_probabilities: tuple[TokenProbability, ...] | UnsetType = UNSET
    model: str | UnsetType = UNSET
    generation_settings: Settings | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    has_new_line: bool | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    stop_type: StopType | UnsetType = UNSET
    stopping_word: str | UnsetType = UNSET
    tokens_cached: int | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class Prompted(Struct, frozen=True):
    """What is known once the model is there."""

    text: str
    n_tokens: int
    n_ctx: int


class CompletionDialect:
    """Writes one request's answers."""

    stream_type = EVENT_STREAM

    def __init__(self, model: str, settings: Settings, response_fields: Sequence[str]) -> None:
        self._model = model
        self._settings = settings
        self._response_fields = response_fields
        self.prompted = Prompted("", 0, 0)
        self._new_lines: set[int] = set()  # answers that have one
        self._last: dict[int, Piece] = {}

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """An object; for several answers, a list of them."""
        bodies = [self._shown(self._whole(answer, told)) for answer in answers]
        return msgspec.json.encode(bodies if len(bodies) > 1 else bodies[0])

    def opening(self) -> Iterable[bytes]:
        """Nothing."""
        return ()

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """What it gains."""
        text = piece.delta.text
        if "\n" in text:
            self._new_lines.add(piece.index)
        if piece.finish_reason:
            self._last[piece.index] = piece
        if text or piece.logprobs or piece.tokens:
            yield event(
                Completion(
                    index=piece.index,
                    content=text,
                    tokens=piece.tokens,
                    stop=False,
                    tokens_predicted=piece.n_generated,
                    tokens_evaluated=self.prompted.n_tokens,
                    completion_probabilities=_probabilities(piece.logprobs) if piece.logprobs else UNSET,
                )
            )

    def closing(self, told: Told) -> Iterable[bytes]:
        """How each answer ended."""
        for index, piece in sorted(self._last.items()):
            has_new_line = index in self._new_lines
            yield event(self._shown(self._ended(piece, told, content="", has_new_line=has_new_line)))

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A comment."""
        return (comment(how_far),)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """The error, in the place of a piece."""
        return (error_event(error),)

    def _whole(self, answer: Answer, told: Told) -> Completion:
        made = self._ended(answer, told, content=answer.text, has_new_line="\n" in answer.text)
        probabilities = _probabilities(answer.logprobs) if answer.logprobs else UNSET
        return msgspec.structs.replace(made, tokens=answer.tokens, completion_probabilities=probabilities)

    def _ended(self, end: Piece | Answer, told: Told, *, content: str, has_new_line: bool) -> Completion:
        n_tokens = told.n_prompt_tokens + end.n_generated
        return Completion(
            index=end.index,
            content=content,
            stop=True,
            model=self._model,
            tokens_predicted=end.n_generated,
            tokens_evaluated=told.n_prompt_tokens,
            generation_settings=self._settings,
            prompt=self.prompted.text,
            has_new_line=has_new_line,
            truncated=end.finish_reason == "length" and n_tokens >= self.prompted.n_ctx,
            stop_type=_stop_type(end),
            stopping_word=end.stopped_by,
            tokens_cached=told.n_cached_tokens,
            timings=_timings(told, end.n_generated),
        )

    def _shown(self, made: Completion) -> Any:
        """The fields that were asked for; those that there are not are left out."""
        if not self._response_fields:
            return made
        body = msgspec.to_builtins(made)
        found = {path: _at(body, path.split("/")) for path in self._response_fields}
        return {path.rpartition("/")[2]: value for path, value in found.items() if value is not UNSET}


def settings_of(generate: protocol.Generate, *, stream: bool = True) -> Settings:
    """What a request is made by."""
    sampling = generate.sampling
    given = {name: getattr(sampling, name) for name in Settings.__struct_fields__ if hasattr(sampling, name)}
    given["seed"] = -1 if sampling.seed is None else sampling.seed
    given["grammar"] = sampling.grammar or ""
    return Settings(
        **given,
        n_predict=-1 if generate.max_tokens is None else generate.max_tokens,
        stop=generate.stop,
        stream=stream,
        n_probs=generate.top_logprobs or 0,
    )


def _probabilities(entries: Sequence[protocol.TokenLogprob]) -> tuple[TokenProbability, ...]:
    return tuple(
        TokenProbability(
            id=entry.ids[0],
            token=_text(entry.piece),
            bytes=tuple(entry.piece),
            logprob=entry.logprob,
            top_logprobs=tuple(
                LikelyToken(id=number, token=_text(piece), bytes=tuple(piece), logprob=logprob)
                for number, (piece, logprob) in zip(entry.ids[1:], entry.top, strict=True)
            ),
        )
        for entry in entries
    )


def _timings(told: Told, n_generated: int) -> Timings:
    n_computed = told.n_prompt_tokens - told.n_cached_tokens
    prompt_ms, predicted_ms = 1000 * told.prompt_s, 1000 * told.generation_s
    return Timings(
        cache_n=told.n_cached_tokens,
        prompt_n=n_computed,
        prompt_ms=prompt_ms,
        prompt_per_token_ms=prompt_ms / max(1, n_computed),
        prompt_per_second=_per_second(n_computed, told.prompt_s),
        predicted_n=n_generated,
        predicted_ms=predicted_ms,
        predicted_per_token_ms=predicted_ms / max(1, n_generated),
        predicted_per_second=_per_second(n_generated, told.generation_s),
    )


def _per_second(count: int, duration_s: float) -> float:
    return count / duration_s if duration_s > 0 else 0.0


def _stop_type(end: Piece | Answer) -> StopType:
    if end.finish_reason == "length":
        return "limit"
    return "word" if end.stopped_by else "eos"


def _text(piece: bytes) -> str:
    """A token's text; a part of a character becomes U+FFFD, and `bytes` says what it is."""
    return piece.decode("utf-8", "replace")


def _at(body: Any, names: Sequence[str]) -> Any:
    """What stands at a path of names; UNSET where there is nothing."""
    for name in names:
        if not isinstance(body, dict) or name not in body:
            return UNSET
        body = body[name]
    return body
