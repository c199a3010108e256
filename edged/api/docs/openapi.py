"""OpenAPI 3.1 of the endpoints, made of the very types that validate requests and encode answers."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from msgspec import Struct

from edged import __version__
from edged.api.auth import scopes_of
from edged.api.docs.schemas import Json, Schemas, request_schema, streamed_kinds
from edged.api.endpoint import Endpoint, Family
from edged.api.event_stream import EVENT_STREAM
from edged.api.work import WAIT_HEADER
from edged.service.wire import ErrorAnswer, OllamaError

FAMILIES: dict[Family, str] = {
    "openai": "What clients of OpenAI's API speak.",
    "ollama": "What clients of ollama speak.",
    "llama.cpp": "What clients of llama.cpp's server speak.",
    "edged": "edged's own: what was measured, what was planned, what models do, and control over them.",
}
ERRORS = {
    400: "The request can never succeed as it is; `param` names what to change.",
    401: "An API key is needed, or the one that was sent is none.",
    403: "This client, this key, or this way of addressing the machine is not let in.",
    404: "There is no such model.",
    413: "The body is larger than server.max_body allows.",
    429: "Too much at once; try again after `Retry-After` seconds.",
    500: "edged or the model's process failed; the log says more, under the request's id.",
    502: "What was to be fetched could not be.",
    503: "The model or edged cannot answer now; try again after `Retry-After` seconds.",
}
_JSON = "application/json"
_PARAMETER = re.compile(r"<(\w+)>")
_RETRIED = (429, 503)
_HEADERS = {
    "X-Request-Id": {
        "description": "The request's name in the log: the client's own, where it sent a fit one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
}
_WAIT: Json = {
    "name": WAIT_HEADER,
    "in": "header",
    "description": "Seconds to wait at most for the model to be loaded, instead of loading.request_wait.",
    "schema": {"type": "number", "minimum": 0, "maximum": 86400},
}


def document(endpoints: Iterable[Endpoint]) -> Json:
    """The whole description."""
    endpoints = tuple(endpoints)
    schemas = Schemas(endpoints, (ErrorAnswer, OllamaError))
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        at = paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})
        at[endpoint.method.lower()] = _operation(endpoint, schemas)
    about = "A model server for small Linux boxes."
    needed = "Needed where the configuration has keys; with one of these scopes."
    key = {"type": "http", "scheme": "bearer", "description": needed}
    return {
        "openapi": "3.1.0",
        "info": {"title": "edged", "version": __version__, "description": about},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in FAMILIES.items()],
        "paths": paths,
        "components": {
            "responses": _error_answers(endpoints, schemas),
            "headers": _HEADERS,
            "securitySchemes": {"key": key},
            "schemas": schemas.components,  # last, when all that are used have been asked for
        },
    }


def _operation(endpoint: Endpoint, schemas: Schemas) -> Json:
    operation: Json = {
        "operationId": operation_id(endpoint),
        "tags": [endpoint.family],
        "summary": endpoint.summary,
        "security": [{}, *({"key": [scope]} for scope in scopes_of(endpoint.method, endpoint.path))],
        "responses": _responses(endpoint, schemas),
    }
    if parameters := [*_in_path(endpoint), *_in_query(endpoint, schemas), *_in_header(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.request is not None:
        content: Json = {"schema": request_schema(endpoint, schemas)}
        if endpoint.example is not None:
            content["example"] = endpoint.example
        operation["requestBody"] = {"required": True, "content": {_JSON: content}}
    return operation


def operation_id(endpoint: Endpoint) -> str:
    """A name that no other endpoint has: `post_v1_chat_completions`."""
    return "_".join([endpoint.method.lower(), *re.findall(r"\w+", endpoint.path)])


def statuses(endpoint: Endpoint) -> list[int]:
    """Every status that an answer can have."""
    given = {endpoint.status, *endpoint.otherwise, *endpoint.errors}
    if scopes_of(endpoint.method, endpoint.path):
        given.add(401)
    if _names_a_model(endpoint):
        given.add(404)
    if endpoint.request is not None:
        given.add(413)
    return sorted(given)


def _names_a_model(endpoint: Endpoint) -> bool:
    taken = [
        name
        for struct in (endpoint.request, endpoint.query)
        if struct is not None
        for name in struct.__struct_encode_fields__
    ]
    return bool({"model", "name"} & {*taken, *_PARAMETER.findall(endpoint.path)})


def _in_path(endpoint: Endpoint) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(endpoint.path)
    ]


def _in_query(endpoint: Endpoint, schemas: Schemas) -> list[Json]:
    if endpoint.query is None:
        return []
    fields = schemas.fields_of(endpoint.query)
    return [
        {"name": name, "in": "query", "required": name in fields["required"], "schema": schema}
        for name, schema in fields["properties"].items()
    ]


def _in_header(endpoint: Endpoint) -> list[Json]:
    loads = endpoint.request is not None and "keep_alive" in endpoint.request.__struct_encode_fields__
    return [_WAIT] if loads else []


def _responses(endpoint: Endpoint, schemas: Schemas) -> Json:
    made: Json = {}
    for status in statuses(endpoint):
        if status == endpoint.status:
            made[str(status)] = _answer(status, HTTPStatus(status).phrase, _content(endpoint, schemas))
        elif status in endpoint.otherwise:
            content = {_JSON: {"schema": schemas.of(endpoint.otherwise[status])}}
            made[str(status)] = _answer(status, ERRORS[status], content)
        else:
            made[str(status)] = {"$ref": f"#/components/responses/{_error_name(endpoint, status)}"}
    return made


def _error_answers(endpoints: Iterable[Endpoint], schemas: Schemas) -> Json:
    """The errors that endpoints refer to, in the shape of their family."""
    made = {}
    for endpoint in endpoints:
        for status in {*statuses(endpoint)} - {endpoint.status, *endpoint.otherwise}:
            content = {_JSON: {"schema": schemas.of(_error_kind(endpoint))}}
            made[_error_name(endpoint, status)] = _answer(status, ERRORS[status], content)
    return dict(sorted(made.items()))


def _error_kind(endpoint: Endpoint) -> type[Struct]:
    return OllamaError if endpoint.family == "ollama" else ErrorAnswer


def _error_name(endpoint: Endpoint, status: int) -> str:
    return f"ollama_error_{status}" if endpoint.family == "ollama" else f"error_{status}"


def _answer(status: int, description: str, content: Json) -> Json:
    names = ["X-Request-Id", *(["Retry-After"] if status in _RETRIED else [])]
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"description": description, "headers": headers, "content": content}


def _content(endpoint: Endpoint, schemas: Schemas) -> Json:
    content: dict[str, Json] = {}
    if endpoint.answer is not None:
        content[endpoint.media_type] = {"schema": schemas.of(endpoint.answer)}
    elif endpoint.media_type != _JSON:
        content[endpoint.media_type] = {"schema": {"type": "string"}}
    if endpoint.stream is not None:
        content[endpoint.stream_type] = {"schema": _streamed(endpoint, schemas)}
    return content


def _streamed(endpoint: Endpoint, schemas: Schemas) -> Json:
    """Of one event, or one line: OpenAPI 3.1 has no words for a stream of them."""
    options = [schemas.of(kind) for kind in streamed_kinds(endpoint)]
    if endpoint.request is not None:  # what goes wrong after the first byte is told within the stream
        options.append(schemas.of(_error_kind(endpoint)))
    each: Json = options[0] if len(options) == 1 else {"anyOf": options}
    if endpoint.stream_type != EVENT_STREAM:
        return {"description": "Each line.", **each}
    data: Json = {"type": "string", "contentMediaType": _JSON, "contentSchema": each}
    if endpoint.stream_end is not None:
        data = {"anyOf": [{"const": endpoint.stream_end}, data]}
    return {
        "description": "Each event.",
        "type": "object",
        "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": data},
        "required": ["data"],
    }
