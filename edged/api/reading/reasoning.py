"""Reasoning that a model writes before its answer, between tags like `<think>` and `</think>`."""

from collections.abc import Callable

from edged.api.generation.events import Delta
from edged.api.reading.source import Parsing, Source, begins, skip, until

ReasoningTags = tuple[str, str]


def after_reasoning(
    tags: ReasoningTags, rest: Callable[[Source], Parsing[None]], *, opened: bool
) -> Callable[[Source], Parsing[None]]:
    """A parser of reasoning, which may be missing, and then of the rest.

    `opened`: the prompt ends with the opening tag. Without a closing one, all is reasoning.
    """
    opening, closing = tags

    def parse(source: Source) -> Parsing[None]:
        again = yield from begins(source, opening)
        if opened or again:
            yield from skip(source)
            if (yield from until(source, closing, lambda text: Delta(reasoning=text))):
                yield from skip(source)
        yield from rest(source)

    return parse
