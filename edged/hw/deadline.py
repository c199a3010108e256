"""Several calls at once that may block for ever, such as a stat on a dead network mount, until a deadline."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


def results_until(deadline: float, calls: Mapping[_Key, Callable[[], _Result]]) -> dict[_Key, _Result]:
    """Make every call in a thread of its own; what came back before `deadline` (of time.monotonic()).

    A call that raises OSError has no result. One that is late is left behind: its thread is a daemon
    thread, which ends by itself or with the process.
    """
    done: queue.SimpleQueue[tuple[_Key, list[_Result]]] = queue.SimpleQueue()

    def run(key: _Key, call: Callable[[], _Result]) -> None:
        result: list[_Result] = []
        try:
            with contextlib.suppress(OSError):
                result.append(call())
        finally:  # whatever happens, nobody waits for the whole time in vain
            done.put((key, result))

    for key, call in calls.items():
        threading.Thread(target=run, args=(key, call), name=f"edged-probe-{key}", daemon=True).start()
    results: dict[_Key, _Result] = {}
    for _ in calls:
        try:
            key, result = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if result:
            results[key] = result[0]
    return results
