"""ollama's POST /api/pull, for models of edged's catalog, and DELETE /api/delete."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from edged.api.answer import json_answer
from edged.api.body import read_request
from edged.api.endpoint import ERRORS, Endpoint, Refused
from edged.api.errors import ClientGone, body_of
from edged.api.event_stream import HEARTBEAT_S, NDJSON, event_stream, line
from edged.api.ollama import names
from edged.api.work import POLL_S, Api, client_has_gone
from edged.errors import EdgedError
from edged.lifecycle.download import Follower, Notice, Step

_CREDENTIAL = Refused("edged fetches models without credentials; leave it out.", off=("",))


class PullRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/pull."""

    model: (
        Annotated[str, Meta(description="A model of edged's catalog: `edged models` lists them.")] | None
    ) = None
    name: Annotated[str, Meta(description="What `model` was called before.")] | None = None
    stream: Annotated[bool, Meta(description="Tell the progress line by line; true by default.")] | None = (
        None
    )


class DeleteRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of DELETE /api/delete."""

    model: Annotated[str, Meta(description="A model that was pulled through this API.")] | None = None
    name: Annotated[str, Meta(description="What `model` was called before.")] | None = None


class Progress(Struct, kw_only=True, omit_defaults=True):
    """How far a pull is; the last line says `success`, or has an `error` instead."""

    status: str
    digest: Annotated[str, Meta(description="Names a step: clients show a bar for each.")] | None = None
    total: Annotated[int, Meta(description="Bytes of the step.")] | None = None
    completed: Annotated[int, Meta(description="Bytes of them that are done.")] | None = None


PULL = Endpoint(
    method="POST",
    path="/api/pull",
    family="ollama",
    summary="Fetch a model of edged's catalog, and serve it from then on.",
    request=PullRequest,
    harmless={"insecure": "Hashes are compared, and only https is used, in any case."},
    refused={"username": _CREDENTIAL, "password": _CREDENTIAL},
    answer=Progress,
    stream=Progress,
    stream_type=NDJSON,
    errors=(*ERRORS, 502),
    example={"model": "smollm2"},
)
DELETE = Endpoint(
    method="DELETE",
    path="/api/delete",
    family="ollama",
    summary="Remove a model that was pulled through this API.",
    request=DeleteRequest,
    example={"model": "smollm2"},
    media_type="text/plain",
)


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("ollama_pull", __name__)

    @blueprint.post(PULL.path)
    @api.working
    def pull() -> Response:
        wanted = read_request(request.environ, PULL, PullRequest)
        follower = api.pulls.follow(names.configured(wanted.model, wanted.name))
        has_gone = client_has_gone(request.environ)
        if wanted.stream is not False:
            response = event_stream(_lines(follower, has_gone), NDJSON)
            response.call_on_close(follower.leave)  # also if the iterator is never begun
            return response
        try:
            for _ in _notices(follower, has_gone):
                continue
        finally:
            follower.leave()
        return json_answer(Progress(status="success"))

    @blueprint.delete(DELETE.path)
    @api.working
    def delete() -> Response:
        wanted = read_request(request.environ, DELETE, DeleteRequest)
        api.pulls.delete(names.configured(wanted.model, wanted.name))
        return Response(b"", mimetype="text/plain")

    return blueprint


def _lines(follower: Follower, has_gone: Callable[[], bool]) -> Iterator[bytes]:
    """What goes wrong from here on can only be told inside the stream."""
    told = line(Progress(status="pulling manifest"))
    told_at_s = time.monotonic()
    yield told
    try:
        for notice in _notices(follower, has_gone):
            if notice is not None:
                told = line(_progress(notice))
            elif time.monotonic() - told_at_s < HEARTBEAT_S:
                continue
            told_at_s = time.monotonic()
            yield told
        yield line(Progress(status="success"))
    except ClientGone:
        return
    except EdgedError as error:
        yield body_of(error, PULL.path) + b"\n"


def _notices(follower: Follower, has_gone: Callable[[], bool]) -> Iterator[Notice | None]:
    """What is told until the model is served; None now and then. Raises why it is not, and ClientGone."""
    while not has_gone():
        notice = follower.next(POLL_S)
        if notice is None and follower.over:
            return
        yield notice
    raise ClientGone("the client has gone")


def _progress(notice: Notice) -> Progress:
    """A step without a total has no bar: clients would have nothing to make one of."""
    if not isinstance(notice, Step):
        return Progress(status=notice.text)
    if notice.total_bytes is None:
        return Progress(status=notice.label)
    digest = hashlib.sha256(notice.label.encode()).hexdigest()
    return Progress(
        status=notice.label,
        digest=f"sha256:{digest}",
        total=notice.total_bytes,
        completed=notice.done_bytes,
    )
