"""One request from its arrival to its end, whatever answers it: its name, and what is noted of it.

Bodies, prompts and keys are never logged: what is written of a request is its method, path and status.
"""

import logging
import time
from typing import Self

from edged.service.liveness import Environ
from edged.service.wire import request_id
from edged.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_PLACE = "edged.visit"


class Visit:
    """A WSGI request that has just come. Its id is the client's own, where that is fit for a log."""

    def __init__(self, environ: Environ) -> None:
        self._began_s = time.monotonic()
        self.request_id = request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        self.method: str = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        self.client: str = environ["REMOTE_ADDR"]  # later the name of its key, if it has one
        self.endpoint = "unknown"  # the route that answers it, never a path of the client's
        self.status = 0
        environ[_PLACE] = self

    @classmethod
    def of(cls, environ: Environ) -> Self:
        """The visit that a request is."""
        visit = environ[_PLACE]
        assert isinstance(visit, cls)
        return visit

    def ended(self, metrics: Metrics) -> None:
        """Its answer has been given: note it."""
        duration_s = time.monotonic() - self._began_s
        metrics.answered(self.endpoint, self.status, duration_s)
        log.debug(
            "%s %s %d %.3f s",
            *(self.method, self.path, self.status, duration_s),
            extra={"REQUEST_ID": self.request_id, "CLIENT": self.client},
        )
