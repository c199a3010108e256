"""How a chat template is told whether, and how much, its model is to think."""

import json
from collections.abc import Mapping
from typing import Any


def template_options(
    think: bool | None, effort: str | None = None, more: Mapping[str, Any] | None = None
) -> str:
    """Variables for the template, as JSON: those by which public templates go, and more that are asked for.

    Qwen, GLM and SmolLM go by `enable_thinking`, DeepSeek and Granite by `thinking`, gpt-oss by the effort.
    """
    told: dict[str, Any] = {} if think is None else {"enable_thinking": think, "thinking": think}
    if effort is not None:
        told["reasoning_effort"] = effort
    options = told | dict(more or {})
    return json.dumps(options) if options else ""
