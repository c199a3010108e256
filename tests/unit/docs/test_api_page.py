"""docs/api.md says what the code does."""

from edged.api.docs.openapi import ERRORS
from tests.api_page import PAGE, whole


def test_its_tables_are_those_of_the_endpoints() -> None:
    text = PAGE.read_text()
    assert text == whole(text), "write it anew: python -m tests.api_page"


def test_it_explains_every_status_that_a_description_names() -> None:
    told = {int(line[2:5]) for line in PAGE.read_text().splitlines() if line[:3] in ("| 4", "| 5")}
    assert told >= ERRORS.keys()
