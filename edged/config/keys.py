"""API keys as they are kept: one a line, with a name and what it is for, hashed where `edged key` made it.

    tablet use         sha256:3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b
    admin  manage,pull sha256:...
    a-key-in-plain-text-may-do-everything

SHA-256 is enough for what `edged key` makes: 256 random bits cannot be found by trying. A hash slow on
purpose would be computed for every request, whoever sends it.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import get_args

import msgspec

from edged.config.schema import Scope

SCOPES: tuple[Scope, ...] = get_args(Scope)

_HASHED = "sha256:"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LEAST_CHARACTERS = 16
_RANDOM_BYTES = 32


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key by its hash. `name` is None where it has none; `text` is there where it is kept in plain text."""

    name: str | None
    scopes: frozenset[Scope]
    digest: bytes
    text: str | None = None


class BadKey(ValueError):
    """A line that is no key; says why without repeating it."""


def parse_key(line: str) -> ApiKey:
    """The key on a line. Raises BadKey."""
    words = line.split()
    if len(words) == 1:
        return _key(None, frozenset(SCOPES), words[0])
    if len(words) != 3:
        raise BadKey(
            "a key travels in an HTTP header: only printable ASCII characters without spaces"
            " (or a line as `edged key add` writes it: NAME SCOPES sha256:...)"
        )
    name, scopes, key = words
    check_name(name)
    return _key(name, _scopes(scopes), key)


def check_name(name: str) -> None:
    """Raises BadKey for what is no name of a key."""
    if not _NAME.fullmatch(name):
        raise BadKey(
            "a key's name has up to 64 lower-case letters, digits, dots, dashes and underscores,"
            " and starts with a letter or digit"
        )


def new_key() -> str:
    """A key that nobody can guess; its beginning lets programs that look for lost secrets know it."""
    return f"edged_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hashed_line(name: str, scopes: Iterable[str], key: str) -> str:
    """The line that keeps a key."""
    wanted = frozenset(scopes)
    listed = ",".join(scope for scope in SCOPES if scope in wanted)
    return f"{name} {listed} {_HASHED}{digest_of(key.encode()).hex()}"


def hashed(line: str) -> str:
    """The same line with a hash in place of a key in plain text. Raises BadKey."""
    *rest, _ = line.split()
    return " ".join([*rest, f"{_HASHED}{parse_key(line).digest.hex()}"])


def digest_of(key: bytes) -> bytes:
    """What is compared in place of a key."""
    return hashlib.sha256(key).digest()


def _scopes(text: str) -> frozenset[Scope]:
    wanted = set(text.split(","))
    if not wanted <= set(SCOPES):
        raise BadKey(f"a key is for some of {', '.join(SCOPES)}, separated by commas")
    return frozenset(scope for scope in SCOPES if scope in wanted)


def _key(name: str | None, scopes: frozenset[Scope], text: str) -> ApiKey:
    if text.startswith(_HASHED):
        if not _DIGEST.fullmatch(text):
            raise BadKey("sha256: is followed by the 64 hexadecimal digits of a key's hash")
        return ApiKey(name=name, scopes=scopes, digest=bytes.fromhex(text.removeprefix(_HASHED)))
    if not (text.isascii() and text.isprintable()):
        raise BadKey("a key travels in an HTTP header: only printable ASCII characters without spaces")
    if len(text) < _LEAST_CHARACTERS:
        raise BadKey(f"a key has at least {_LEAST_CHARACTERS} characters")
    return ApiKey(name=name, scopes=scopes, digest=digest_of(text.encode()), text=text)
