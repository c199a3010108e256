"""The page for people loads nothing and runs nothing."""

import base64
import hashlib
from html.parser import HTMLParser

from edged.api.app import ENDPOINTS
from edged.api.docs.page import CONTENT_SECURITY_POLICY, page
from tests.unit.api.docs.test_fields import ENDPOINT


class Seen(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.style = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.tags.add(tag)
        self.attributes |= set(attrs)

    def handle_data(self, data: str) -> None:
        if self._within == "style":
            self.style += data
        self.text += data


def test_nothing_is_loaded_and_nothing_runs() -> None:
    seen = Seen(page(ENDPOINTS))
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert {value for name, value in seen.attributes if name in ("src", "href")} == {"openapi.json"}
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "style"]
    assert "url(" not in seen.style
    assert "@import" not in seen.style


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    style = base64.b64encode(hashlib.sha256(Seen(page(ENDPOINTS)).style.encode()).digest()).decode()
    assert f"style-src 'sha256-{style}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; ")


def test_every_endpoint_and_field_is_there() -> None:
    text = Seen(page([*ENDPOINTS, ENDPOINT])).text
    for endpoint in ENDPOINTS:
        assert endpoint.path in text
        assert endpoint.summary in text
    for told in ("messages[].content", "integer, 1 to 128", "nobody is told.", "there is none.", "refused"):
        assert told in text
