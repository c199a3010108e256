"""Who may call, and what for: by source address, by the name the machine was called by, and by API key."""

import hmac
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from msgspec import Struct

from edged.api.errors import Forbidden, Unauthorized
from edged.config.keys import SCOPES, ApiKey, digest_of, parse_key
from edged.config.schema import Access, Scope
from edged.errors import InvalidRequest

_LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
_LAN = (
    *_LOOPBACK,
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")),
    *map(ip_network, ("fc00::/7", "fe80::/10")),
)
_OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/v1/health", "/openapi.json", "/docs"})
_OTHER_THAN_USE: dict[str, tuple[Scope, ...]] = {
    "/metrics": ("metrics",),
    "/api/pull": ("pull",),
    "/api/delete": ("manage",),
}
_EVERYTHING = frozenset(SCOPES)


class Caller(Struct, frozen=True, kw_only=True):
    """Who has sent a request. `name` is fit for a log: a key's name, or an address."""

    name: str
    key: str | None  # its name; None without one that is known here
    scopes: frozenset[Scope]
    is_limited: bool = True
    has_shown_key: bool = False

    def check(self, method: str, path: str) -> None:
        """Raises Unauthorized or Forbidden if this is not for the caller to ask."""
        needed = scopes_of(method, path)
        if not needed or not self.scopes.isdisjoint(needed):
            return
        if self.key is not None:
            raise Forbidden(
                f"the API key {self.key} is not for {method} {path}, which needs the scope {needed[0]};"
                f" `edged key add NAME --scope {needed[0]}` on the machine makes a key that has it"
            )
        what = "this API key is not known here" if self.has_shown_key else "an API key is needed"
        raise Unauthorized(
            f"{what}: send `Authorization: Bearer KEY` with a key that `edged key add NAME` has made on the"
            " machine, or one of access.api_keys"
        )


def scopes_of(method: str, path: str) -> tuple[Scope, ...]:
    """What a key is to be for, one of these, to ask this; nothing: no key is needed."""
    if path in _OPEN_PATHS:
        return ()
    if path.startswith("/edged/v1/"):
        return ("use", "manage") if method in ("GET", "HEAD", "OPTIONS") else ("manage",)
    return _OTHER_THAN_USE.get(path, ("use",))


class Gate:
    """Checks requests against the `access` section of the configuration."""

    def __init__(self, access: Access, administrators_key: str | None = None) -> None:
        """`administrators_key` is for who administers the machine, and is no key of the configuration."""
        self._mode = access.mode
        self._keys = tuple(map(parse_key, access.api_keys))
        self._administrators = None if administrators_key is None else digest_of(administrators_key.encode())
        own = socket.gethostname().lower()
        self._hosts = {"localhost", own, f"{own}.local", *(host.lower().rstrip(".") for host in access.hosts)}
        self._origins = frozenset(access.cors_origins)
        is_open = not self._keys and access.mode != "any"
        self._without_key = _EVERYTHING if is_open else frozenset(access.keyless)

    def let_in(self, environ: Mapping[str, str]) -> Caller:
        """Who sends a WSGI request. Raises Forbidden for a wrong way to come, InvalidRequest without Host."""
        self._check_source(environ["REMOTE_ADDR"])
        host = environ.get("HTTP_HOST")
        if host is None:
            if environ["SERVER_PROTOCOL"] == "HTTP/1.1":
                raise InvalidRequest("the Host header is missing; send the name or address that you call")
        else:
            self._check_host(host, "Host")
        self._check_origin(environ)
        return self._caller(environ)

    def _check_source(self, source: str) -> None:
        allowed = {"loopback": _LOOPBACK, "lan": _LAN, "any": None}[self._mode]
        if allowed is None or any(_address(source) in network for network in allowed):
            return
        who, wider = ("this machine", "lan") if self._mode == "loopback" else ("private addresses", "any")
        raise Forbidden(
            f"access.mode is {self._mode}: only {who} may call, not {source}; {wider} would let it in"
        )

    def _check_host(self, host: str, header: str) -> None:
        """A name that is not ours may be a web page's, pointed at this machine (DNS rebinding)."""
        name = _host_name(host)
        if name in self._hosts or _is_address(name):
            return
        raise Forbidden(
            f"the {header} header names {name!r}, which this machine does not answer to; use its address,"
            " or add the name to access.hosts"
        )

    def _check_origin(self, environ: Mapping[str, str]) -> None:
        """Browsers send a page's origin along: pages from elsewhere must not use or unload models."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or origin == f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST')}":
            return
        try:
            name = urlsplit(origin).hostname or origin
        except ValueError:
            name = origin
        if origin not in self._origins and name not in self._hosts - {"localhost"}:
            raise Forbidden(
                f"a web page from {origin!r} may not call; to allow it, add that to access.cors_origins"
            )

    def _caller(self, environ: Mapping[str, str]) -> Caller:
        shown = _shown_key(environ)
        key = None if shown is None else self._known(shown)
        if key is not None:
            return key
        address = _one_client(_address(environ["REMOTE_ADDR"]))
        return Caller(name=address, key=None, scopes=self._without_key, has_shown_key=shown is not None)

    def _known(self, shown: bytes) -> Caller | None:
        """Whose key this is. All hashes are compared, each in constant time, so that time tells nothing."""
        digest = digest_of(shown)
        if self._administrators is not None and hmac.compare_digest(digest, self._administrators):
            return Caller(name="administrator", key="administrator", scopes=_EVERYTHING, is_limited=False)
        matches = [hmac.compare_digest(digest, key.digest) for key in self._keys]
        if not any(matches):
            return None
        at = matches.index(True)
        name = _name(self._keys[at], at)
        return Caller(name=f"key {name}", key=name, scopes=self._keys[at].scopes | self._without_key)


def _shown_key(environ: Mapping[str, str]) -> bytes | None:
    """The key that a request shows in the header of OpenAI's clients or that of others, which is latin-1."""
    scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        key = environ.get("HTTP_X_API_KEY", "")
    return key.strip().encode("latin-1") or None


def _name(key: ApiKey, place: int) -> str:
    return key.name or f"access.api_keys[{place}]"


def _one_client(address: IPv4Address | IPv6Address) -> str:
    """By which one client is told from others: its address, or the /64 of a public IPv6 address.

    Private addresses count each for itself, since all machines of a home share a /64.
    """
    if isinstance(address, IPv6Address) and address.is_global:
        return str(IPv6Network((int(address), 64), strict=False))
    return str(address)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    """`[::1]:8080` → `::1`, `Box.local.:80` → `box.local`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")
