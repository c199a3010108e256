"""What generations give, below every way of writing it down: pieces, whole answers, what is told of them."""

from collections.abc import Iterable
from typing import Literal, Protocol

from msgspec import Struct

from edged.runner.protocol import TokenLogprob

FinishReason = Literal["stop", "length", "tool_calls"]


class CallDelta(Struct, frozen=True, kw_only=True):
    """What a tool call gains; the first of a call has its id and name."""

    number: int  # of the call within its answer
    id: str | None = None
    name: str | None = None
    arguments: str = ""  # the next characters of a JSON text


class Delta(Struct, frozen=True, kw_only=True):
    """What an answer gains, by its parts."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.calls)


class Piece(Struct, frozen=True, kw_only=True):
    """What one of a request's answers gains in one step."""

    index: int
    delta: Delta
    n_generated: int  # tokens of this answer so far
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stopped_by: str = ""  # the stop text that ended the answer
    tokens: tuple[int, ...] = ()  # where they were asked for


class Call(Struct, frozen=True, kw_only=True):
    """A whole tool call; `arguments` is a JSON text."""

    id: str
    name: str
    arguments: str


class Answer(Struct, frozen=True, kw_only=True):
    """One whole answer."""

    index: int
    text: str
    reasoning: str
    calls: tuple[Call, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason
    n_generated: int
    stopped_by: str = ""
    tokens: tuple[int, ...] = ()


class Told(Struct, frozen=True, kw_only=True):
    """What is told of a generation beside its answers. Tokens are of all answers together."""

    n_prompt_tokens: int
    n_cached_tokens: int  # of the prompt: found in the KV cache
    n_generated_tokens: int
    load_s: float  # until the model answered at all
    prompt_s: float  # from its slot to the first token
    generation_s: float  # from there to the last
    total_s: float  # since the request came


class Reader(Protocol):
    """Tells the parts of one answer's text apart, as it comes. Nothing of the text is ever lost."""

    def push(self, text: str) -> Iterable[Delta]:
        """What is certain after these characters."""

    def finish(self) -> Iterable[Delta]:
        """What was held back, at the end of the answer."""


class PlainReader:
    """All of it is text."""

    def push(self, text: str) -> Iterable[Delta]:
        """The text as it is."""
        return (Delta(text=text),) if text else ()

    def finish(self) -> Iterable[Delta]:
        """Nothing is held back."""
        return ()


class Collected:
    """Pieces of one answer, put together."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[Call] = []
        self._logprobs: list[TokenLogprob] = []
        self._tokens: list[int] = []
        self._last: Piece | None = None

    def add(self, piece: Piece) -> None:
        """The next piece."""
        self._last = piece
        self._texts.append(piece.delta.text)
        self._reasoning.append(piece.delta.reasoning)
        self._logprobs += piece.logprobs
        self._tokens += piece.tokens
        for call in piece.delta.calls:
            if call.number == len(self._calls):
                self._calls.append(Call(id=call.id or "", name=call.name or "", arguments=call.arguments))
            else:
                known = self._calls[call.number]
                self._calls[call.number] = Call(
                    id=known.id, name=known.name, arguments=known.arguments + call.arguments
                )

    def answer(self) -> Answer:
        """The whole answer, once its last piece was added."""
        assert self._last is not None, "an answer ends with a piece"
        assert self._last.finish_reason is not None, "an answer ends with a reason"
        return Answer(
            index=self._index,
            text="".join(self._texts),
            reasoning="".join(self._reasoning),
            calls=tuple(self._calls),
            logprobs=tuple(self._logprobs),
            finish_reason=self._last.finish_reason,
            stopped_by=self._last.stopped_by,
            tokens=tuple(self._tokens),
            n_generated=self._last.n_generated,
        )
