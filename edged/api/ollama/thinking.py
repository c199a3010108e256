"""`think`, by which ollama's clients say whether a model is to think before it answers."""

from typing import Annotated, Literal

from msgspec import Meta

from edged.api.generation import thinking as generation
from edged.api.generation.course import Order, Ordered
from edged.errors import InvalidRequest
from edged.lifecycle.handle import RunnerHandle

Think = Annotated[
    bool | Literal["low", "medium", "high"],
    Meta(description="Whether, or how much, to think first; refused of models that cannot."),
]


def template_options(think: Think | None) -> str:
    """Variables for the chat template, as JSON."""
    return generation.template_options(
        None if think is None else bool(think), think if isinstance(think, str) else None
    )


def thinking(order: Order, think: Think | None) -> Order:
    """The same order, of a model that can think where it is to. Raises InvalidRequest, as ollama refuses."""

    def checked(handle: RunnerHandle) -> Ordered:
        if think and (handle.chat is None or handle.chat.reasoning is None):
            raise InvalidRequest(
                f"think: {handle.plan.model} does not support thinking; leave it out", "think"
            )
        return order(handle)

    return checked
