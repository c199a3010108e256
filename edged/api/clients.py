"""How much each client asks for: so many requests at once, and so many in a minute."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from edged.api.errors import RateLimited
from edged.config.schema import Server

_MOST_REMEMBERED = 4096  # clients; whoever comes from that many addresses is not held back by forgetting none
_MINUTE_S = 60.0


class _Account(Struct):
    """One client: requests under way, and how many more it may make at a time."""

    n_working: int = 0
    n_left: float = 0.0
    at_s: float = 0.0


class Clients:
    """Counts the requests of clients that were seen of late. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # the longest unseen first

    def enter(self, client: str, server: Server) -> Callable[[], None]:
        """Count a request; what is returned says that it has ended. Raises RateLimited."""
        if server.client_requests == "unlimited" and server.client_rate == "unlimited":
            return not_counted
        with self._lock:
            account = self._account(client)
            if server.client_requests != "unlimited" and account.n_working >= server.client_requests:
                raise RateLimited(
                    f"{account.n_working} requests of yours are being worked on, as many as one client may"
                    " have (server.client_requests): wait for one of them",
                    1.0,
                )
            if server.client_rate != "unlimited":
                self._spend(account, server.client_rate)
            account.n_working += 1
        return lambda: self._leave(account)

    def _leave(self, account: _Account) -> None:
        with self._lock:
            account.n_working -= 1

    def _account(self, client: str) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            self._make_room()
            account = self._accounts[client] = _Account(n_left=float("inf"), at_s=self._clock())
        self._accounts.move_to_end(client)
        return account

    def _make_room(self) -> None:
        """Forget who was not seen for longest and has nothing under way; few have, since threads are few."""
        if len(self._accounts) < _MOST_REMEMBERED:
            return
        forgotten = next((name for name, each in self._accounts.items() if not each.n_working), None)
        if forgotten is not None:
            del self._accounts[forgotten]

    def _spend(self, account: _Account, per_minute: int) -> None:
        """Take one request of what a client may make, which grows again until it is a minute's worth."""
        now_s = self._clock()
        grown = (now_s - account.at_s) * per_minute / _MINUTE_S
        account.n_left = min(float(per_minute), account.n_left + grown)
        account.at_s = now_s
        if account.n_left < 1.0:
            raise RateLimited(
                f"one client may make {per_minute} requests a minute (server.client_rate): ask less often",
                (1.0 - account.n_left) * _MINUTE_S / per_minute,
            )
        account.n_left -= 1.0


def not_counted() -> None:
    """The end of a request that nobody counts."""
