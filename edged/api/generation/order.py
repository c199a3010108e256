"""What a conversation asks of a runner, by how its model writes: known once the model is loaded."""

from typing import Literal

from msgspec import Struct, structs

from edged.api.generation.course import Order, Ordered
from edged.api.generation.events import Reader
from edged.api.reading import reader
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.requests import Generation
from edged.runner import protocol


class Offer(Struct, frozen=True):
    """The tools that a model is told of, and what it is to do with them."""

    tools: tuple[protocol.Tool, ...] = ()
    choice: Literal["none", "auto", "required"] = "auto"
    parallel: bool = True  # several calls in one answer


def order_of(generate: protocol.Generate, offer: Offer) -> Order:
    """What asks for `generate`, and reads calls of the offered tools and reasoning out of its answers."""

    def order(handle: RunnerHandle) -> Ordered:
        chat = handle.chat
        may_call = offer.tools and offer.choice != "none"

        def read(generation: Generation) -> Reader:
            return reader(
                calls=chat.tools if chat is not None and may_call else None,
                tool_names=frozenset(tool.name for tool in offer.tools),
                reasoning=None if chat is None else chat.reasoning,
                opens_reasoning=generation.opens_reasoning,
            )

        wanted = structs.replace(generate, tools=offer.tools, control_pieces=bool(may_call))
        return Ordered(wanted, read)

    return order
