"""Waiting for a model, as long as somebody waits for its answer."""

import time

from edged.api.work import POLL_S, Api, Patience
from edged.errors import Unavailable
from edged.lifecycle.handle import RunnerHandle


def wait_ready(api: Api, model: str, patience: Patience) -> RunnerHandle:
    """The model's handle once it answers, waiting up to `loading.request_wait`.

    Raises UnknownModel, ClientGone, or Unavailable with the predicted time that is left.
    """
    deadline = min(patience.deadline, time.monotonic() + api.config.loading.request_wait)
    while True:
        until = min(deadline, time.monotonic() + POLL_S)
        try:
            return api.pool.ensure_ready(model, until - time.monotonic())
        except Unavailable:
            # Before its time is up, the pool says that waiting would be in vain.
            if time.monotonic() < until or until >= deadline:
                raise
        patience.check()
