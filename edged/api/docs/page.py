"""The page at /docs: every endpoint and every field, without a script and without anything from elsewhere."""

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape

from edged import __version__
from edged.api.docs.fields import Field, answers, fields_of
from edged.api.docs.openapi import FAMILIES, operation_id
from edged.api.endpoint import Endpoint

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 64rem; padding: 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { overflow-x: auto; padding: .5rem; background: #8882 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #8884 }
summary { cursor: pointer; padding: .25rem 0 }
.method { display: inline-block; min-width: 4rem; font-weight: bold }
.refused { opacity: .7 }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = "; ".join(
    [
        *("default-src 'none'", f"style-src 'sha256-{_HASH}'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    ]
)


def page(endpoints: Iterable[Endpoint]) -> str:
    """The HTML."""
    endpoints = tuple(endpoints)
    families = "".join(
        f'<h2 id="{escape(family)}">{escape(family)}</h2><p>{escape(about)}</p>'
        + "".join(_section(each) for each in endpoints if each.family == family)
        for family, about in FAMILIES.items()
        if any(each.family == family for each in endpoints)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>edged: API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>edged {escape(__version__)}</h1>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{families}</body></html>"
    )


def _section(endpoint: Endpoint) -> str:
    fields = fields_of(endpoint)
    parts = [
        f"<p>{answers(endpoint)}</p>",
        _example(endpoint),
        _table(fields) if fields else "<p>It takes no fields.</p>",
    ]
    heading = (
        f'<span class="method">{endpoint.method}</span> <code>{escape(endpoint.path)}</code>'
        f" {escape(endpoint.summary)}"
    )
    return f'<details id="{operation_id(endpoint)}"><summary>{heading}</summary>{"".join(parts)}</details>'


def _example(endpoint: Endpoint) -> str:
    if endpoint.example is None:
        return ""
    return f"<pre>{escape(json.dumps(endpoint.example, ensure_ascii=False))}</pre>"


def _table(fields: list[Field]) -> str:
    return (
        "<table><thead><tr><th>field</th><th>values</th><th></th><th></th></tr></thead>"
        f"<tbody>{''.join(map(_row, fields))}</tbody></table>"
    )


def _row(field: Field) -> str:
    fate = "required" if field.required else field.fate
    name = escape(field.name)
    return (
        f'<tr class="{field.fate.replace(" ", "-")}"><td><code>{name}</code></td>'
        f"<td>{escape(field.values)}</td><td>{fate}</td><td>{escape(field.text)}</td></tr>"
    )
