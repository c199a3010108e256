"""Responses as OpenAI writes them, whole and event by event."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from edged.api.errors import row_of
from edged.api.event_stream import EVENT_STREAM, comment, event
from edged.api.generation.events import Answer, Piece, Told
from edged.api.openai.responses.answer import (
    IncompleteDetails,
    InputDetails,
    OutputDetails,
    OutputItem,
    ResponseError,
    ResponseObject,
    ResponseUsage,
)
from edged.api.openai.responses.events import Completed, Created, Error, Event, Failed, Incomplete, InProgress
from edged.api.openai.responses.output import Output, whole
from edged.api.openai.responses.request import Reasoning, ResponsesRequest, TextConfig, TextFormat
from edged.api.openai.usage import Thinking
from edged.errors import EdgedError, InvalidRequest
from edged.runner import protocol

_Code = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
_CODES: dict[int, _Code] = {400: "invalid_prompt", 429: "rate_limit_exceeded"}


class ResponsesDialect:
    """Writes one request's answer."""

    stream_type = EVENT_STREAM

    def __init__(self, model: str, wanted: ResponsesRequest, generate: protocol.Generate) -> None:
        text = wanted.text or TextConfig()
        self._asked = ResponseObject(
            id="resp_" + secrets.token_hex(12),
            created_at=int(time.time()),
            status="in_progress",
            instructions=wanted.instructions,
            max_output_tokens=wanted.max_output_tokens,
            metadata=wanted.metadata or {},
            model=model,
            parallel_tool_calls=wanted.parallel_tool_calls is not False,
            reasoning=wanted.reasoning or Reasoning(),
            temperature=generate.sampling.temperature,
            text=msgspec.structs.replace(text, format=text.format or TextFormat(type="text")),
            tool_choice=wanted.tool_choice or "auto",
            tools=tuple(wanted.tools or ()),
            top_logprobs=generate.top_logprobs or 0,
            top_p=generate.sampling.top_p,
        )
        self._output = Output()
        self._thinking = Thinking()
        self._was_cut_short = False
        self._has_begun = False

    def whole(self, answers: Sequence[Answer], told: Told) -> bytes:
        """The one answer at once."""
        [answer] = answers
        self._was_cut_short = answer.finish_reason == "length"
        output = tuple(whole(answer))
        return msgspec.json.encode(self._ended(output, told, Thinking.of(answers)))

    def opening(self) -> Iterable[bytes]:
        """It has been created, and is worked on."""
        self._has_begun = True
        yield _named(Created(response=self._asked, sequence_number=self._output.number()))
        yield _named(InProgress(response=self._asked, sequence_number=self._output.number()))

    def piece(self, piece: Piece) -> Iterable[bytes]:
        """What the answer's items gain."""
        self._thinking.add(piece)
        self._was_cut_short = piece.finish_reason == "length"
        return map(_named, self._output.add(piece))

    def closing(self, told: Told) -> Iterable[bytes]:
        """The whole answer."""
        response = self._ended(tuple(self._output.items), told, self._thinking)
        last = Incomplete if self._was_cut_short else Completed
        yield _named(last(response=response, sequence_number=self._output.number()))

    def waiting(self, how_far: str) -> Iterable[bytes]:
        """A comment."""
        return (comment(how_far),)

    def failed(self, error: EdgedError) -> Iterable[bytes]:
        """The error, and that the response has failed, which clients look for after its beginning."""
        if not self._has_begun:
            yield from self.opening()
        row = row_of(error)
        param = error.param if isinstance(error, InvalidRequest) else None
        yield _named(
            Error(code=row.code, message=str(error), param=param, sequence_number=self._output.number())
        )
        failure = ResponseError(code=_CODES.get(row.status, "server_error"), message=str(error))
        response = msgspec.structs.replace(
            self._asked, status="failed", error=failure, output=tuple(self._output.items)
        )
        yield _named(Failed(response=response, sequence_number=self._output.number()))

    def _ended(self, output: tuple[OutputItem, ...], told: Told, thinking: Thinking) -> ResponseObject:
        return msgspec.structs.replace(
            self._asked,
            status="incomplete" if self._was_cut_short else "completed",
            incomplete_details=IncompleteDetails() if self._was_cut_short else None,
            output=output,
            usage=ResponseUsage(
                input_tokens=told.n_prompt_tokens,
                input_tokens_details=InputDetails(cached_tokens=told.n_cached_tokens),
                output_tokens=told.n_generated_tokens,
                output_tokens_details=OutputDetails(reasoning_tokens=thinking.n_tokens()),
                total_tokens=told.n_prompt_tokens + told.n_generated_tokens,
            ),
        )


def _named(body: Event) -> bytes:
    return event(body, str(type(body).__struct_config__.tag))
