"""What a model writes, read as it comes: text, reasoning and calls of tools, as its template writes them.

Everything here is pure. However an answer's text is cut into pieces, the same is read from it, and what is no
call after all is text: nothing that the model wrote is lost but the marks and the blanks around them.
"""

from collections.abc import Callable
from functools import partial

from edged.api.generation.events import PlainReader, Reader
from edged.api.reading.calls import CallParser, ToolNames
from edged.api.reading.formats import PARSERS
from edged.api.reading.reasoning import ReasoningTags, after_reasoning
from edged.api.reading.source import Parsing, Source, Stream, everything
from edged.runner.protocol import ToolFormat

__all__ = ["ReasoningTags", "ToolNames", "reader"]


def reader(
    *,
    calls: ToolFormat | None = None,
    tool_names: ToolNames = frozenset(),
    reasoning: ReasoningTags | None = None,
    opens_reasoning: bool = False,
) -> Reader:
    """A reader for one answer.

    `calls` is None where no tool may be called. `opens_reasoning`: the prompt ends within its tags.
    """
    if calls is None and reasoning is None:
        return PlainReader()
    parse: Callable[[Source], Parsing[None]] = everything
    if calls is not None:
        parse = partial(PARSERS[calls], CallParser(tool_names, short_ids=calls == "mistral"))
    if reasoning is not None:
        parse = after_reasoning(reasoning, parse, opened=opens_reasoning)
    return Stream(parse)
