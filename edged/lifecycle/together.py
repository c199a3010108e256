"""Generations that belong to one request, as if they were one."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from edged.lifecycle.requests import Generation
from edged.runner import protocol

_TURN_S = 0.01  # how long the others' tokens may wait while one is looked at


class Together:
    """Several generations with as many answers each, numbered through; otherwise as `Generation`."""

    opens_reasoning = False  # of texts, which have no template

    def __init__(self, generations: Sequence[Generation], n_answers: int) -> None:
        """`n_answers` of each."""
        self._generations = tuple(generations)
        self._n_answers = n_answers
        self._unfinished = deque(enumerate(generations))

    @classmethod
    def begin(
        cls, submit: Callable[[protocol.Generate], Generation], requests: Iterable[protocol.Generate]
    ) -> "Together":
        """Submit them all, or none: raises what the first of them does that is not taken."""
        begun: list[Generation] = []
        n_answers = 1
        try:
            for request in requests:
                begun.append(submit(request))
                n_answers = request.n
        except BaseException:
            for generation in begun:
                generation.cancel()
            raise
        return cls(begun, n_answers)

    @property
    def finished(self) -> bool:
        """Whether every answer has come to its end."""
        return not self._unfinished

    @property
    def n_prompt_tokens(self) -> int | None:
        """Of those that slots work on, or have worked on; None while there are none."""
        return _sum(generation.n_prompt_tokens for generation in self._generations)

    @property
    def n_cached_tokens(self) -> int | None:
        """Likewise."""
        return _sum(generation.n_cached_tokens for generation in self._generations)

    def poll(self, wait_s: float) -> protocol.TokenEvent | None:
        """The next token of any; None when there is none for a moment, or one was just admitted.

        Raises as `Generation.poll` does.
        """
        for turn_s in (*[0.0] * len(self._unfinished), min(wait_s, _TURN_S)):
            if not self._unfinished:
                return None
            place, generation = self._unfinished[0]
            self._unfinished.rotate(-1)
            is_admitted = generation.n_prompt_tokens is not None
            event = generation.poll(turn_s)
            if generation.finished:
                self._unfinished.remove((place, generation))
            if event is not None:
                return self._numbered(event, place)
            if not is_admitted and generation.n_prompt_tokens is not None:
                return None
        return None

    def cancel(self) -> None:
        """Free all slots. Safe at any time, and again."""
        for generation in self._generations:
            generation.cancel()

    def _numbered(self, event: protocol.TokenEvent, place: int) -> protocol.TokenEvent:
        return structs.replace(event, index=place * self._n_answers + event.index)


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
