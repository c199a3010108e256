"""The items of a response, as an answer's pieces make them."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from edged.api.generation.events import Answer, CallDelta, Piece
from edged.api.openai.logprobs import Chosen, chosen
from edged.api.openai.responses.answer import (
    CallItem,
    ItemStatus,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
)
from edged.api.openai.responses.events import (
    ArgumentsDelta,
    ArgumentsDone,
    ItemAdded,
    ItemDone,
    ItemEvent,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    TextDone,
)

Number = Callable[[], int]  # of the next event


class _Message:
    """A message that goes on."""

    def __init__(self, place: int, number: Number) -> None:
        self.id = _id("msg")
        self._place = place
        self._number = number
        self._texts: list[str] = []
        self._logprobs: list[Chosen] = []

    def begin(self) -> Iterator[ItemEvent]:
        item = MessageItem(id=self.id, status="in_progress", content=())
        yield ItemAdded(output_index=self._place, item=item, sequence_number=self._number())
        yield PartAdded(
            item_id=self.id,
            output_index=self._place,
            part=OutputText(text=""),
            sequence_number=self._number(),
        )

    def add(self, text: str, logprobs: tuple[Chosen, ...]) -> Iterator[ItemEvent]:
        self._texts.append(text)
        self._logprobs += logprobs
        yield TextDelta(
            item_id=self.id,
            output_index=self._place,
            delta=text,
            logprobs=logprobs,
            sequence_number=self._number(),
        )

    def end(self, status: ItemStatus) -> Iterator[ItemEvent]:
        part = OutputText(text="".join(self._texts), logprobs=tuple(self._logprobs))
        yield TextDone(
            item_id=self.id,
            output_index=self._place,
            text=part.text,
            logprobs=part.logprobs,
            sequence_number=self._number(),
        )
        yield PartDone(item_id=self.id, output_index=self._place, part=part, sequence_number=self._number())
        item = MessageItem(id=self.id, status=status, content=(part,))
        yield ItemDone(output_index=self._place, item=item, sequence_number=self._number())


class _Reasoning:
    """Reasoning that goes on."""

    def __init__(self, place: int, number: Number) -> None:
        self.id = _id("rs")
        self._place = place
        self._number = number
        self._texts: list[str] = []

    def begin(self) -> Iterator[ItemEvent]:
        item = ReasoningItem(id=self.id, status="in_progress", content=())
        yield ItemAdded(output_index=self._place, item=item, sequence_number=self._number())
        yield PartAdded(
            item_id=self.id,
            output_index=self._place,
            part=ReasoningText(text=""),
            sequence_number=self._number(),
        )

    def add(self, text: str) -> Iterator[ItemEvent]:
        self._texts.append(text)
        yield ReasoningDelta(
            item_id=self.id, output_index=self._place, delta=text, sequence_number=self._number()
        )

    def end(self, status: ItemStatus) -> Iterator[ItemEvent]:
        part = ReasoningText(text="".join(self._texts))
        yield ReasoningDone(
            item_id=self.id, output_index=self._place, text=part.text, sequence_number=self._number()
        )
        yield PartDone(item_id=self.id, output_index=self._place, part=part, sequence_number=self._number())
        item = ReasoningItem(id=self.id, status=status, content=(part,))
        yield ItemDone(output_index=self._place, item=item, sequence_number=self._number())


class _Call:
    """A call whose arguments go on."""

    def __init__(self, place: int, number: Number, first: CallDelta) -> None:
        self.id = _id("fc")
        self.call = first.number
        self._call_id = first.id or ""
        self._name = first.name or ""
        self._place = place
        self._number = number
        self._arguments: list[str] = []

    def begin(self) -> Iterator[ItemEvent]:
        yield ItemAdded(
            output_index=self._place, item=self._item("in_progress"), sequence_number=self._number()
        )

    def add(self, arguments: str) -> Iterator[ItemEvent]:
        if arguments:
            self._arguments.append(arguments)
            yield ArgumentsDelta(
                item_id=self.id,
                output_index=self._place,
                delta=arguments,
                sequence_number=self._number(),
            )

    def end(self, status: ItemStatus) -> Iterator[ItemEvent]:
        item = self._item(status)
        yield ArgumentsDone(
            item_id=self.id,
            output_index=self._place,
            name=item.name,
            arguments=item.arguments,
            sequence_number=self._number(),
        )
        yield ItemDone(output_index=self._place, item=item, sequence_number=self._number())

    def _item(self, status: ItemStatus) -> CallItem:
        return CallItem(
            id=self.id,
            status=status,
            call_id=self._call_id,
            name=self._name,
            arguments="".join(self._arguments),
        )


class Output:
    """The items of an answer that comes piece by piece: one is open at a time."""

    def __init__(self) -> None:
        self.number: Number = count().__next__
        self.items: list[OutputItem] = []
        self._open: _Message | _Reasoning | _Call | None = None
        self._logprobs: tuple[Chosen, ...] = ()  # of tokens whose text has not come yet

    def add(self, piece: Piece) -> Iterator[ItemEvent]:
        """What a piece adds; the last one closes what is open."""
        delta = piece.delta
        self._logprobs += chosen(piece.logprobs)
        if delta.reasoning:
            yield from self._reason(delta.reasoning)
        if delta.text:
            yield from self._say(delta.text)
        for call in delta.calls:
            yield from self._call(call)
        if piece.finish_reason:
            if not self.items and self._open is None:
                yield from self._say("")
            yield from self._close("incomplete" if piece.finish_reason == "length" else "completed")

    def _reason(self, text: str) -> Iterator[ItemEvent]:
        self._logprobs = ()
        if not isinstance(self._open, _Reasoning):
            yield from self._close("completed")
            self._open = _Reasoning(len(self.items), self.number)
            yield from self._open.begin()
        yield from self._open.add(text)

    def _say(self, text: str) -> Iterator[ItemEvent]:
        if not isinstance(self._open, _Message):
            yield from self._close("completed")
            self._open = _Message(len(self.items), self.number)
            yield from self._open.begin()
        logprobs, self._logprobs = self._logprobs, ()
        yield from self._open.add(text, logprobs)

    def _call(self, call: CallDelta) -> Iterator[ItemEvent]:
        self._logprobs = ()
        if not isinstance(self._open, _Call) or self._open.call != call.number:
            yield from self._close("completed")
            self._open = _Call(len(self.items), self.number, call)
            yield from self._open.begin()
        yield from self._open.add(call.arguments)

    def _close(self, status: ItemStatus) -> Iterator[ItemEvent]:
        if self._open is None:
            return
        for event in self._open.end(status):
            if isinstance(event, ItemDone):
                self.items.append(event.item)
            yield event
        self._open = None


def whole(answer: Answer) -> Iterable[OutputItem]:
    """The items of an answer that has come to its end."""
    cut_short: ItemStatus = "incomplete" if answer.finish_reason == "length" else "completed"
    if answer.reasoning:
        only = not answer.text and not answer.calls
        yield ReasoningItem(
            id=_id("rs"),
            status=cut_short if only else "completed",
            content=(ReasoningText(text=answer.reasoning),),
        )
        if only:
            return
    if answer.text or not answer.calls:
        part = OutputText(text=answer.text, logprobs=chosen(answer.logprobs))
        yield MessageItem(id=_id("msg"), status="completed" if answer.calls else cut_short, content=(part,))
    for call in answer.calls:
        yield CallItem(
            id=_id("fc"),
            status=cut_short if call is answer.calls[-1] else "completed",
            call_id=call.id,
            name=call.name,
            arguments=call.arguments,
        )


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
