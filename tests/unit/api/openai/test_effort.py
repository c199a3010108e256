"""What chat templates are told of how much to think."""

import json
from typing import Any

import pytest

from edged.api.openai.effort import template_options


@pytest.mark.parametrize(
    ("effort", "thinks"), [("none", False), ("minimal", False), ("low", True), ("xhigh", True)]
)
def test_each_family_of_templates_is_told_in_its_words(effort: str, thinks: bool) -> None:
    told = {"enable_thinking": thinks, "thinking": thinks, "reasoning_effort": effort}
    assert json.loads(template_options(effort)) == told


@pytest.mark.parametrize(
    ("effort", "more", "enabled"),
    [("high", {"enable_thinking": False}, False), (None, {"enable_thinking": True}, True)],
)
def test_what_is_told_outright_comes_before(effort: str | None, more: dict[str, Any], enabled: bool) -> None:
    assert json.loads(template_options(effort, more))["enable_thinking"] is enabled


def test_nothing_is_told_where_nothing_is_asked() -> None:
    assert template_options(None, {}) == template_options(None) == ""
