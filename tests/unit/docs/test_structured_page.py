"""docs/structured.md names what the code takes, and its limits."""

import re
from pathlib import Path

from edged.api.generation.call_rules import MOST_CALLS
from edged.api.json_schema import MAX_SCHEMA_CHARACTERS
from edged.api.json_schema.build import MAX_PROPERTIES
from edged.api.json_schema.keywords import ANNOTATIONS, COMBINED, MAX_VALUES, OF_TYPE
from edged.api.json_schema.pattern import FORMATS
from edged.api.json_schema.scalars import ANY_DEPTH
from edged.api.reading.formats import PARSERS

PAGE = (Path(__file__).parents[3] / "docs" / "structured.md").read_text()


def _named(begin: str, end: str) -> set[str]:
    """What stands in backquotes between two texts of the page."""
    return set(re.findall(r"`([^`]+)`", PAGE.partition(begin)[2].partition(end)[0]))


def test_every_keyword_is_named_once_and_no_other() -> None:
    rows = {
        row.split("|")[1].strip(): set(re.findall(r"`([^`]+)`", row))
        for row in PAGE.splitlines()
        if row[:2] == "| "
    }
    assert rows["objects"] == set(OF_TYPE["object"])
    assert rows["arrays"] == set(OF_TYPE["array"])
    assert rows["strings"] == set(OF_TYPE["string"])
    assert rows["numbers"] == set(OF_TYPE["number"])
    assert rows["any value"] == {"type", "enum", "const", "true", "false", *COMBINED}
    assert _named("- What only describes", "\n\n") == {*ANNOTATIONS, "x-", "$id"}


def test_every_format_is_named() -> None:
    assert _named("- Formats:", "\n-") == set(FORMATS)
    assert {row.split("`")[1] for row in PAGE.splitlines() if row.startswith("| `")} == set(PARSERS)


def test_limits_are_the_codes() -> None:
    for limit in (
        MAX_SCHEMA_CHARACTERS,
        f"{MAX_PROPERTIES} properties",
        f"{MAX_VALUES} values",
        f"{MOST_CALLS}, and",
    ):
        assert str(limit) in PAGE
    assert ANY_DEPTH == 6
    assert "at most six deep" in PAGE
