"""Who may call: by source address, by the name the machine was called by, and by API key."""

import hashlib
import hmac
import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

from edged.api.errors import Forbidden, Unauthorized
from edged.config.schema import Access
from edged.errors import InvalidRequest

_LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))
_LAN = (
    *_LOOPBACK,
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")),
    *map(ip_network, ("fc00::/7", "fe80::/10")),
)
_KEYLESS_PATHS = frozenset({"/livez", "/readyz", "/health"})


class Gate:
    """Checks requests against the `access` section of the configuration."""

    def __init__(
        self, mode: Literal["loopback", "lan", "any"], keys: Iterable[str], hosts: Iterable[str]
    ) -> None:
        self._mode = mode
        self._digests = tuple(_digest(key.encode()) for key in keys)
        own = socket.gethostname().lower()
        self._hosts = {"localhost", own, f"{own}.local", *(host.lower().rstrip(".") for host in hosts)}

    @classmethod
    def of(cls, access: Access) -> "Gate":
        """By the configuration."""
        return cls(access.mode, access.api_keys, access.hosts)

    def check(self, environ: Mapping[str, str]) -> None:
        """Let a WSGI request in, or raise Forbidden, Unauthorized or InvalidRequest (no Host)."""
        self._check_source(environ["REMOTE_ADDR"])
        host = environ.get("HTTP_HOST")
        if host is None:
            if environ["SERVER_PROTOCOL"] == "HTTP/1.1":
                raise InvalidRequest("the Host header is missing")
        else:
            self._check_host(host, "Host")
        self._check_origin(environ)
        if environ["PATH_INFO"] not in _KEYLESS_PATHS:
            self._check_key(environ.get("HTTP_AUTHORIZATION", ""))

    def _check_source(self, source: str) -> None:
        allowed = {"loopback": _LOOPBACK, "lan": _LAN, "any": None}[self._mode]
        if allowed is None or any(_address(source) in network for network in allowed):
            return
        who = "this machine" if self._mode == "loopback" else "private addresses"
        raise Forbidden(f"access.mode is {self._mode}: only {who} may call, not {source}")

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
        if name not in self._hosts - {"localhost"}:
            raise Forbidden(
                f"a web page from {origin} may not call; add its host name to access.hosts to allow it"
            )

    def _check_key(self, authorization: str) -> None:
        if not self._digests and self._mode != "any":
            return
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip().encode("latin-1"))  # header bytes arrive as latin-1
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized(
                "an API key is needed: send `Authorization: Bearer KEY` with one of access.api_keys"
            )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()  # equal lengths, so that comparing tells nothing about a key's


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
