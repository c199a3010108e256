"""Request bodies: JSON ends here. Every refusal names the field and never repeats its content."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from edged.api.endpoint import Endpoint
from edged.api.errors import Unsupported
from edged.errors import InvalidRequest
from edged.service.liveness import Environ

Typed = TypeVar("Typed")
Fields = dict[str, Any]

_JSON_TYPES = ("application/json", "")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$")
# Of a field with a few values; msgspec repeats what was sent, which a message never does.
_VALUE = re.compile(r"Invalid (?:enum )?value .*?(?= - at (?:`key` in )?`\$[^`]*`$|$)", re.DOTALL)
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*)`$", re.DOTALL)


class _NotJson:
    """Stands for NaN, Infinity or a number beyond every range until the field's name is known."""


_NOT_JSON = _NotJson()


def read_request(environ: Environ, endpoint: Endpoint, kind: type[Typed]) -> Typed:
    """The body of a request to `endpoint`, whose `request` is `kind`. Raises InvalidRequest, Unsupported.

    ollama's own documentation sends JSON with curl's media type, which says that it is a form.
    """
    if endpoint.family == "ollama":
        return request_of(parse_fields(environ["wsgi.input"].read()), endpoint, kind)
    return request_of(read_fields(environ), endpoint, kind)


def request_of(fields: Fields, endpoint: Endpoint, kind: type[Typed]) -> Typed:
    """Fields as the endpoint's request, without those that change nothing. Raises as `read_request` does."""
    for name in endpoint.harmless.keys() & fields.keys():
        del fields[name]
    for name in endpoint.refused.keys() & fields.keys():
        value, refused = fields.pop(name), endpoint.refused[name]
        if value is not None and not _is_one_of(value, refused.off):
            raise Unsupported(f"{name}: {refused.reason}", name)
    return convert(fields, kind)


def read_fields(environ: Environ) -> Fields:
    """The JSON object that a WSGI request carries; the server has limited its size. Raises InvalidRequest."""
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES:
        raise InvalidRequest(
            f"the Content-Type is {media_type}; send application/json"
            " (curl: -H 'Content-Type: application/json')",
            "Content-Type",
        )
    return parse_fields(environ["wsgi.input"].read())


def parse_fields(body: bytes) -> Fields:
    """A JSON object as a dict, without what JSON does not have. Raises InvalidRequest."""
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=lambda _: _NOT_JSON, parse_float=_float
        )
        if _ESCAPED_SURROGATE.search(text):
            _refuse_surrogates(value, "")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 at byte {error.start}; encode it so") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply; send it flatter") from error
    except json.JSONDecodeError as error:
        what = "the body is empty" if not text.strip() else f"the body is not JSON: {error.msg}"
        raise InvalidRequest(f"{what} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidRequest("the body holds a number with too many digits; send one of fewer") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is not a JSON object; send {...}")
    return value


def convert(fields: Mapping[str, Any], kind: type[Typed], *, strict: bool = True) -> Typed:
    """Fields as a typed struct; if not `strict`, texts may stand for other values. Raises InvalidRequest."""
    try:
        return msgspec.convert(fields, kind, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from error


def _is_one_of(value: Any, known: tuple[Any, ...]) -> bool:
    return any(type(value) is type(each) and value == each for each in known)  # True is not 1 here


def _object(pairs: list[tuple[str, Any]]) -> Fields:
    made = dict(pairs)
    if len(made) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidRequest(f"{_shown(twice)}: is there twice; keep one", _shown(twice))
    for name, value in pairs:
        if value is _NOT_JSON:
            raise InvalidRequest(f"{_shown(name)}: is not a finite number", _shown(name))
    return made


def _float(text: str) -> float | _NotJson:
    value = float(text)
    return value if math.isfinite(value) else _NOT_JSON


def _refuse_surrogates(value: Any, path: str) -> None:
    """Half a UTF-16 pair is no character: it can be written in JSON, but not in UTF-8."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequest(f"{path}: holds half of a surrogate pair, which is no character", path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_surrogates(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_surrogates(name, f"{path}.key" if path else "key")
            _refuse_surrogates(item, f"{path}.{name}" if path else name)


def _named(problem: str) -> InvalidRequest:
    """msgspec's message with the field in front: `stop[1]: expected `str`, got `int``."""
    problem = _VALUE.sub("is none of the values that it may have; /docs lists them", problem, count=1)
    at = _AT.search(problem)
    problem = problem[: at.start()] if at else problem
    path = at.group(1) if at else ""
    field = _FIELD.match(problem)
    if field:
        path = ".".join(filter(None, [path, _shown(field.group(2))]))
        missing = field.group(1).startswith("missing")
        problem = "is missing" if missing else "is not a field that edged knows; leave it out"
    problem = problem.replace("_NotJson", "no finite number")
    path = path or "body"
    return InvalidRequest(f"{path}: {problem[:1].lower()}{problem[1:]}", path)


def _shown(name: str) -> str:
    """A field name that a client chose, fit for a message."""
    return name.encode("ascii", "backslashreplace").decode()[:64]
