"""The way in, whatever answers: who may come and how often, what a request is called, and how it ended."""

import functools
from collections.abc import Callable, Iterable, Iterator

from edged.api import cors, errors
from edged.api.auth import Gate, scopes_of
from edged.api.clients import Clients, not_counted
from edged.api.visit import Visit
from edged.api.work import Api
from edged.config.schema import Access
from edged.errors import EdgedError
from edged.service.liveness import Environ, StartResponse, Wsgi
from edged.service.wire import REQUEST_ID


class Door:
    """A WSGI application that lets requests through to another, or answers why not."""

    def __init__(self, app: Wsgi, api: Api, administrators_key: str | None = None) -> None:
        self._app = app
        self._api = api
        self._clients = Clients()

        @functools.lru_cache(maxsize=1)
        def gate_of(access: Access) -> Gate:
            return Gate(access, administrators_key)

        self._gate_of = gate_of

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        visit = Visit(environ)
        more = [(REQUEST_ID, visit.request_id)]
        more += cors.headers(environ, self._api.config.access.cors_origins)

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> object:
            visit.status = int(status[:3])
            return start_response(status, headers + more, exc_info)

        try:
            leave = self._let_in(environ, visit)
        except EdgedError as error:
            answer = errors.answer_to(error, visit).begin(start)
            visit.ended(self._api.metrics)
            return answer

        def ended() -> None:
            leave()
            visit.ended(self._api.metrics)

        return self._answer(environ, start, ended)

    def _answer(self, environ: Environ, start: StartResponse, ended: Callable[[], None]) -> Iterable[bytes]:
        try:
            if cors.is_preflight(environ):
                answer: Iterable[bytes] = errors.Answer(204, (), b"").begin(start)
            else:
                answer = self._app(environ, start)
        except BaseException:
            ended()
            raise
        if isinstance(answer, list):  # whole already
            ended()
            return answer
        return _UnderWay(answer, ended)

    def _let_in(self, environ: Environ, visit: Visit) -> Callable[[], None]:
        """Raises EdgedError; what is returned says that the request has ended.

        Who shows a wrong key is counted as well, by address, and so cannot go on trying.
        """
        config = self._api.config
        caller = self._gate_of(config.access).let_in(environ)
        visit.client = caller.name
        is_open = cors.is_preflight(environ) or not scopes_of(visit.method, visit.path)
        if is_open or not caller.is_limited:
            leave = not_counted
        else:
            leave = self._clients.enter(caller.name, config.server)
        try:
            if not is_open:
                caller.check(visit.method, visit.path)
        except EdgedError:
            leave()
            raise
        return leave


class _UnderWay:
    """An answer that is made while it is sent. Its server closes it, however it ends."""

    def __init__(self, answer: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._answer = answer
        self._ended = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Close what makes it, then say that it has ended."""
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._ended()
