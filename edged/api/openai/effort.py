"""How much a model is to think, as OpenAI's clients say it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from edged.api.generation import thinking

Effort = Annotated[
    Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
    Meta(
        description="Told to the model's chat template; none and minimal turn thinking off where that can be."
    ),
]
_OFF = ("none", "minimal")


def template_options(effort: str | None, more: Mapping[str, Any] | None = None) -> str:
    """Variables for the chat template, as JSON."""
    return thinking.template_options(None if effort is None else effort not in _OFF, effort, more)
