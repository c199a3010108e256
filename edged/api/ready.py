"""Waiting for a model, as long as somebody waits for its answer."""

import time
from collections.abc import Callable
from typing import TypeVar

from edged.api.work import POLL_S, Api, Patience
from edged.errors import Replaced, Unavailable
from edged.lifecycle.handle import RunnerHandle

_Answer = TypeVar("_Answer")


def ask(api: Api, model: str, patience: Patience, submit: Callable[[RunnerHandle], _Answer]) -> _Answer:
    """Submit something to a model once it answers, waiting up to `loading.request_wait`.

    A model that is unloaded or replaced between the two is waited for again. Raises UnknownModel, ClientGone,
    Unavailable with the predicted time that is left, and what `submit` raises.
    """
    with api.pool.asking(model):
        while True:
            handle = _wait_ready(api, model, patience)
            try:
                return submit(handle)
            except Replaced:
                patience.check()


def _wait_ready(api: Api, model: str, patience: Patience) -> RunnerHandle:
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
