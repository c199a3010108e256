"""Endpoints beside the web framework, where an answer is computed in little more time than that takes.

A text's embedding takes 2 ms on both cores of a small machine. While the daemon works on a request, a core is
missing there, and what Flask does costs as much as everything else that the daemon does for an embedding.
"""

from collections.abc import Callable, Iterable, Mapping

from edged.api import errors
from edged.api.visit import Visit
from edged.api.work import Api
from edged.service.liveness import Environ, StartResponse, Wsgi

View = Callable[[Environ], bytes]


class Direct:
    """A WSGI application: POST goes to `views` by path, which give JSON or raise; all else goes to `app`."""

    def __init__(self, app: Wsgi, api: Api, views: Mapping[str, View]) -> None:
        self._app = app
        self._api = api
        self._views = views

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        path = environ["PATH_INFO"]
        view = self._views.get(path) if environ["REQUEST_METHOD"] == "POST" else None
        if view is None:
            return self._app(environ, start_response)
        visit = Visit.of(environ)
        visit.endpoint = path
        return self._answer(view, environ, visit).begin(start_response)

    def _answer(self, view: View, environ: Environ, visit: Visit) -> errors.Answer:
        try:
            with self._api.place():
                return errors.Answer(200, (errors.JSON,), view(environ))
        except Exception as error:  # noqa: BLE001  # as Flask does; `answer_to` logs what was not foreseen
            return errors.answer_to(error, visit)
