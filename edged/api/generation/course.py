"""A generation that slots work on, as typed pieces."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edged.api.generation.events import Delta, FinishReason, Piece, Reader, Told
from edged.api.work import POLL_S, Patience
from edged.errors import RunnerFailed
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.requests import Generation
from edged.lifecycle.together import Together
from edged.runner import protocol

Working = Generation | Together


class Ordered(NamedTuple):
    """What a runner is to do, and what reads each of its answers once it has been admitted."""

    generate: protocol.Generate
    reader: Callable[[Working], Reader]
    beside: tuple[protocol.Generate, ...] = ()  # more of the kind, whose answers are numbered through


Order = Callable[[RunnerHandle], Ordered]  # known once the model is loaded; raises InvalidRequest


class Course:
    """One generation from its admission to its last token."""

    def __init__(self, generation: Working, ordered: Ordered, patience: Patience) -> None:
        self.generation = generation
        self.n_answers = ordered.generate.n * (1 + len(ordered.beside))
        self._reader = ordered.reader
        self._patience = patience
        self._readers: list[Reader] = []
        self._n_generated = [0] * self.n_answers
        self._has_calls = [False] * self.n_answers
        self._submitted_s = patience.waited_s
        self._admitted_s = self._submitted_s
        self._last_s = self._submitted_s
        self.first_token_s: float | None = None  # since the request came

    def is_admitted(self) -> bool:
        """Whether slots work on it, after a moment in which that may have begun. Raises EdgedError."""
        if not self._readers:
            if self.generation.poll(POLL_S) is not None:
                raise RunnerFailed("the runner answered before it admitted the request")
            self._patience.check()
            if self.generation.n_prompt_tokens is None:
                return False
            self._admitted_s = self._patience.waited_s
            self._readers = [self._reader(self.generation) for _ in range(self.n_answers)]
        return True

    def pieces(self) -> Iterator[Piece | None]:
        """What the answers gain, to the last; None now and then while that is nothing."""
        while not self.generation.finished:
            event = self.generation.poll(POLL_S)
            self._patience.check()
            if event is None:
                yield None
                continue
            self._last_s = self._patience.waited_s
            if self.first_token_s is None:
                self.first_token_s = self._last_s
            yield from self._read(event)

    def told(self) -> Told:
        """What is known of it by now."""
        first_s = self._last_s if self.first_token_s is None else self.first_token_s
        return Told(
            n_prompt_tokens=self.generation.n_prompt_tokens or 0,
            n_cached_tokens=self.generation.n_cached_tokens or 0,
            n_generated_tokens=sum(self._n_generated),
            load_s=self._submitted_s,
            prompt_s=max(0.0, first_s - self._admitted_s),
            generation_s=self._last_s - first_s,
            total_s=self._patience.waited_s,
        )

    def _read(self, event: protocol.TokenEvent) -> Iterator[Piece]:
        """An event's text by its parts; log probabilities go with the first, the end with the last."""
        self._n_generated[event.index] = event.n_generated
        reader = self._readers[event.index]
        deltas = [*reader.push(event.text), *(reader.finish() if event.finish_reason else ())]
        if any(delta.calls for delta in deltas):
            self._has_calls[event.index] = True
        reason: FinishReason | None = event.finish_reason
        if reason == "stop" and self._has_calls[event.index]:
            reason = "tool_calls"
        if not deltas and (event.logprobs or event.tokens or reason):
            deltas = [Delta()]
        for place, delta in enumerate(deltas):
            yield Piece(
                index=event.index,
                delta=delta,
                n_generated=event.n_generated,
                logprobs=event.logprobs if place == 0 else (),
                tokens=event.tokens if place == 0 else (),
                finish_reason=reason if place == len(deltas) - 1 else None,
                stopped_by=event.stopped_by if place == len(deltas) - 1 else "",
            )
