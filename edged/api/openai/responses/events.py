"""The events of a streamed response, in the order in which they come for each item."""

from msgspec import Struct

from edged.api.openai.logprobs import Chosen
from edged.api.openai.responses.answer import OutputItem, OutputText, ReasoningText, ResponseObject


class Created(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.created"):
    """The first event."""

    response: ResponseObject
    sequence_number: int


class InProgress(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.in_progress"):
    """The second."""

    response: ResponseObject
    sequence_number: int


class ItemAdded(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.added"):
    """An item begins."""

    output_index: int
    item: OutputItem
    sequence_number: int


class PartAdded(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.added"):
    """Its text begins."""

    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText
    sequence_number: int


class TextDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.delta"):
    """A message's text goes on."""

    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: tuple[Chosen, ...]
    sequence_number: int


class TextDone(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.done"):
    """It has come to its end."""

    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    logprobs: tuple[Chosen, ...]
    sequence_number: int


class ReasoningDelta(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"
):
    """Reasoning goes on."""

    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    sequence_number: int


class ReasoningDone(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.reasoning_text.done"):
    """It has come to its end."""

    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    sequence_number: int


class PartDone(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.done"):
    """An item's text is whole."""

    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText | ReasoningText
    sequence_number: int


class ArgumentsDelta(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    """A call's arguments go on."""

    item_id: str
    output_index: int
    delta: str
    sequence_number: int


class ArgumentsDone(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    """They are whole."""

    item_id: str
    output_index: int
    name: str
    arguments: str
    sequence_number: int


class ItemDone(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.done"):
    """An item is whole."""

    output_index: int
    item: OutputItem
    sequence_number: int


class Completed(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.completed"):
    """The last event."""

    response: ResponseObject
    sequence_number: int


class Incomplete(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.incomplete"):
    """The last event of an answer that was cut short."""

    response: ResponseObject
    sequence_number: int


class Failed(Struct, frozen=True, kw_only=True, tag_field="type", tag="response.failed"):
    """The last event where something went wrong after the first."""

    response: ResponseObject
    sequence_number: int


class Error(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """What went wrong."""

    code: str
    message: str
    param: str | None
    sequence_number: int


ItemEvent = (
    ItemAdded
    | PartAdded
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | PartDone
    | ArgumentsDelta
    | ArgumentsDone
    | ItemDone
)
Event = Created | InProgress | ItemEvent | Completed | Incomplete | Failed | Error
