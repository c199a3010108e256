"""When it is worth looking at the running edged again."""

import threading
import time
from collections.abc import Iterator

from edged.cli.client import Client
from edged.errors import EdgedError

_LOOK_EVERY_S = 2.0  # for what no event tells: rates, queues, memory
_SETTLE_S = 0.2  # events come in bursts


def moments(client: Client) -> Iterator[None]:
    """Now, soon after each event, and now and then, until edged shuts down. Raises EdgedError."""
    following = _Following(client)
    while not following.ended:
        yield
        following.wait()
    if following.problem is not None:
        raise following.problem


class _Following:
    """Follows the events in a thread of its own, which ends with the process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._news = threading.Event()
        self.ended = False
        self.problem: EdgedError | None = None
        threading.Thread(target=self._follow, daemon=True).start()

    def wait(self) -> None:
        """Return when it is time to look."""
        if self._news.wait(_LOOK_EVERY_S) and not self.ended:
            time.sleep(_SETTLE_S)
        self._news.clear()

    def _follow(self) -> None:
        try:
            for _ in self._client.events():
                self._news.set()
        except EdgedError as error:
            self.problem = error
        finally:
            self.ended = True
            self._news.set()
