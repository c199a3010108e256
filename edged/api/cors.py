"""What a browser is told, so that it lets a web page from elsewhere call and read the answers (CORS).

Only pages of `access.cors_origins` are told anything. No cookies are involved: keys travel in a header.
"""

from collections.abc import Collection

from edged.service.liveness import Environ

_METHODS = "GET, HEAD, POST, DELETE"
_READABLE = "Retry-After, X-Request-Id"
_REMEMBERED_S = "600"

Headers = list[tuple[str, str]]


def is_preflight(environ: Environ) -> bool:
    """Whether a browser asks if a page may send a request; such questions carry no key."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def headers(environ: Environ, origins: Collection[str]) -> Headers:
    """What an answer has for a page of one of these origins, and for no other."""
    if not origins:
        return []
    told: Headers = [("Vary", "Origin")]
    if environ.get("HTTP_ORIGIN") not in origins:
        return told
    told += [
        ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
        ("Access-Control-Expose-Headers", _READABLE),
    ]
    if is_preflight(environ):
        told += _preflight(environ)
    return told


def _preflight(environ: Environ) -> Headers:
    """Any header may be sent: OpenAI's client for browsers has a dozen of its own."""
    told: Headers = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _REMEMBERED_S)]
    if wanted := environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS"):
        told.append(("Access-Control-Allow-Headers", wanted))
    if environ.get("HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK") == "true":
        told.append(("Access-Control-Allow-Private-Network", "true"))
    return told
