"""How much a model is to think, as its chat template is told."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

Effort = Annotated[
    Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
    Meta(
        description="Told to the model's chat template; none and minimal turn thinking off where that can be."
    ),
]
_OFF = ("none", "minimal")


def template_options(effort: str | None, more: Mapping[str, Any] | None = None) -> str:
    """Variables for the chat template, as JSON: the names are those that public templates know."""
    told = {} if effort is None else {"enable_thinking": effort not in _OFF, "reasoning_effort": effort}
    options = told | dict(more or {})
    return json.dumps(options) if options else ""
