"""docs/api.md: its tables are made from what the endpoints declare.

`python -m tests.api_page` writes them anew, and leaves what stands above them as it is.
"""

from collections.abc import Iterable
from pathlib import Path

from edged.api.app import ENDPOINTS
from edged.api.docs.fields import Field, answers, fields_of
from edged.api.docs.openapi import FAMILIES
from edged.api.endpoint import Endpoint
from edged.api.errors import HTTP_TABLE, INTERNAL, TABLE, ClientGone

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
_MARK = "<!-- From here on made by `python -m tests.api_page`. -->\n"
_ORDERED = tuple(each for family in FAMILIES for each in ENDPOINTS if each.family == family)
_BY_HTTP = {
    404: "There is nothing at this path.",
    405: "The path does not take this method; `Allow` says which it takes.",
    413: "The body is larger than `server.max_body`.",
}
_FATES = {"honoured": "", "no effect": "no effect", "refused": "**refused**"}


def whole(page: str) -> str:
    """The page with tables of errors and endpoints as they are now."""
    return page.partition(_MARK)[0] + _MARK + _errors() + "".join(map(_family, FAMILIES))


def _errors() -> str:
    """Every kind of error, by what its class says of itself."""
    rows = [
        (row, " ".join((kind.__doc__ or "").split()).replace("retry_after_s", "Retry-After"))
        for kind, row in TABLE.items()
        if kind is not ClientGone
    ] + [(row, _BY_HTTP[status]) for status, row in HTTP_TABLE.items()]
    rows.append((INTERNAL, "edged failed; the log says more, under the request's id."))
    rows.sort(key=lambda row: row[0].status)
    lines = [f"| {row.status} | `{row.type}` | `{row.code}` | {text} |\n" for row, text in rows]
    return "\n## Errors\n\n| status | type | code | when |\n|---|---|---|---|\n" + "".join(lines)


def _family(family: str) -> str:
    sections = "".join(_section(each) for each in _ORDERED if each.family == family)
    return f"\n## {family}\n{sections}" if sections else ""


def _section(endpoint: Endpoint) -> str:
    about = f"\n### {_name(endpoint)}\n\n{endpoint.summary} {answers(endpoint)}"
    fields = fields_of(endpoint)
    if not fields:
        return f"{about} It takes no fields.\n"
    first = next(each for each in _ORDERED if fields_of(each) == fields)
    return (
        f"{about} Its fields are those of {_name(first)}.\n" if first != endpoint else about + _table(fields)
    )


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}".replace("<", "{").replace(">", "}")


def _table(fields: Iterable[Field]) -> str:
    head = "\n\n| field | values | what becomes of it |\n|---|---|---|\n"
    return head + "".join(map(_row, fields))


def _row(field: Field) -> str:
    needed = " (required)" if field.required else ""
    text = ": ".join(filter(None, [_FATES[field.fate], " ".join(field.text.split())]))
    return f"| `{field.name}`{needed} | {_cell(field.values)} | {_cell(text)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(whole(PAGE.read_text()))
