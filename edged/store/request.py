"""What a user asks to pull, as words on the command line, turned into what is wanted."""

import difflib
import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edged.errors import PullError
from edged.store.catalog import MODEL_ID_PATTERN, Artifact, ConvertTo, Entry
from edged.store.job import LocalFile, Url, Wanted
from edged.store.local import plain_size_bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")
# The one file of a pull from outside the catalog; never a name that comes from there.
_FILE = "model"


@dataclass(frozen=True)
class Request:
    """One NAME of `edged pull` with its options."""

    target: str
    name: str | None = None
    sha256: str | None = None
    weights: str | None = None


def resolve(request: Request, catalog: Mapping[str, Entry]) -> Wanted:
    """What is wanted. Raises PullError when there is no such thing or an option does not go with it."""
    target = request.target
    if "://" in target:
        return _from_url(request)
    if "/" in target or target.endswith(".gguf"):
        return _from_file(request)
    if target not in catalog:
        raise PullError(_unknown(target, catalog))
    return _from_catalog(request, catalog[target])


def _from_catalog(request: Request, entry: Entry) -> Wanted:
    if request.sha256:
        raise PullError(f"{entry.id}: its hash is in the catalog; --sha256 is for addresses and files")
    variant = entry.variant(request.weights)
    if variant is None:
        offered = ", ".join(each.weights for each in entry.variants)
        raise PullError(f"{entry.id}: no weights {request.weights}; there are: {offered}")
    return Wanted(
        id=_checked_id(request.name or entry.id),
        origin=entry.id,
        files=entry.files,
        sources=entry.sources,
        convert_to=msgspec.convert(variant.weights, ConvertTo) if entry.convert else None,
        weights=variant.weights,
        weights_chosen=request.weights is not None,
        alternatives=entry.variants[1:] if entry.convert and request.weights is None else (),
        size_bytes=variant.size_bytes,
        memory_bytes=variant.memory_bytes,
    )


def _from_url(request: Request) -> Wanted:
    address = request.target
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PullError(f"{address}: not an address: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise PullError(f"{host}: a password in an address would end up in logs; edged does not send one")
    if parts.scheme != "https":
        raise PullError(f"{address}: only https:// addresses can be pulled")
    if not host or re.search(r"[\s\x00-\x1f\x7f]", address) or not address.isascii():
        raise PullError(f"{address!r}: not an address of the form https://host/path.gguf")
    place = f"{host}:{port}" if port else host
    query = f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}" if parts.query else ""
    wanted = _outside(request, Path(urllib.parse.unquote(parts.path)).name)
    # A query often holds a token, and a receipt can be read by everybody: its hash tells addresses apart.
    return replace(wanted, origin=f"https://{place}{parts.path}{query}", sources=(Url(address),))


def _from_file(request: Request) -> Wanted:
    source = LocalFile(Path(request.target).absolute())
    size_bytes = plain_size_bytes(source)
    wanted = _outside(request, source.path.name)
    return replace(wanted, origin=str(source.path), sources=(source,), size_bytes=size_bytes)


def _outside(request: Request, file_name: str) -> Wanted:
    """What addresses and files have in common."""
    if request.weights:
        raise PullError(f"{request.target}: --weights is for catalog models that are converted")
    if request.sha256 and not _SHA256.fullmatch(request.sha256.lower()):
        raise PullError(f"--sha256 {request.sha256}: expected 64 hexadecimal digits")
    if not request.name and not file_name.endswith(".gguf"):
        raise PullError(f"{request.target}: does not end in .gguf: say what to call it with --name")
    sha256 = request.sha256.lower() if request.sha256 else None
    return Wanted(
        id=_checked_id(request.name or file_name.removesuffix(".gguf")),
        origin="",
        files=(Artifact(name=_FILE, sha256=sha256),),
        sources=(),
    )


def _checked_id(name: str) -> str:
    if not re.match(MODEL_ID_PATTERN, name):
        raise PullError(
            f"{name!r} cannot be a model id: at most 64 letters, digits, dots, dashes and underscores, "
            "not beginning with a dot or dash; choose one with --name"
        )
    return name


def _unknown(target: str, catalog: Mapping[str, Entry]) -> str:
    close = difflib.get_close_matches(target, catalog, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(catalog)}"
    return f"no model {target!r} in the catalog, {hint} (a file needs a path, an address https://)"
