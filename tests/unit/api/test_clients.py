"""What one client may ask for, by a clock that the test moves."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.api import clients as clients_module
from edged.api.clients import Clients
from edged.api.errors import RateLimited
from edged.config.schema import Server


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="clients")
def _clients(clock: Clock) -> Clients:
    return Clients(clock)


def test_so_many_in_a_minute_and_then_at_that_pace(clients: Clients, clock: Clock) -> None:
    server = Server(client_rate=6)
    for _ in range(6):
        clients.enter("a", server)()
    with pytest.raises(RateLimited, match=r"6 requests a minute \(server\.client_rate\)") as caught:
        clients.enter("a", server)
    assert caught.value.retry_after_s == pytest.approx(10)
    clients.enter("b", server)
    clock.now_s += 10
    clients.enter("a", server)
    with pytest.raises(RateLimited):
        clients.enter("a", server)
    clock.now_s += 3600
    for _ in range(6):
        clients.enter("a", server)
    with pytest.raises(RateLimited):
        clients.enter("a", server)


def test_so_many_at_once(clients: Clients) -> None:
    server = Server(client_requests=2)
    leave = clients.enter("a", server)
    clients.enter("a", server)
    with pytest.raises(RateLimited, match=r"server\.client_requests"):
        clients.enter("a", server)
    clients.enter("b", server)
    leave()
    clients.enter("a", server)


def test_without_limits_nobody_is_remembered(clients: Clients) -> None:
    clients.enter("a", Server())()
    assert not clients._accounts


def test_a_limit_that_comes_while_requests_are_under_way_holds_from_then_on(clients: Clients) -> None:
    leave = clients.enter("a", Server())
    limited = Server(client_requests=1)
    second = clients.enter("a", limited)
    leave()
    with pytest.raises(RateLimited):
        clients.enter("a", limited)
    second()
    clients.enter("a", limited)


def test_who_comes_from_ever_new_addresses_takes_no_more_memory(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients_module, "_MOST_REMEMBERED", 8)
    server = Server(client_requests=1)
    leave = clients.enter("patient", server)
    for number in range(100):
        clients.enter(f"address {number}", server)()
    assert len(clients._accounts) == 8
    with pytest.raises(RateLimited):  # who has a request under way is not forgotten
        clients.enter("patient", server)
    leave()
    clients.enter("patient", server)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=200),
    st.integers(1, 20),
)
def test_no_stretch_of_time_has_more_than_a_minutes_worth_and_what_grew_in_it(
    asked: list[tuple[str, float]], per_minute: int
) -> None:
    clock = Clock()
    clients = Clients(clock)
    let_in: dict[str, list[float]] = {name: [] for name in "abc"}
    for name, pause_s in asked:
        clock.now_s += pause_s
        with suppress(RateLimited):
            clients.enter(name, Server(client_rate=per_minute))()
            let_in[name].append(clock.now_s)
    for times in let_in.values():
        for first, began_s in enumerate(times):
            for count, at_s in enumerate(times[first:], start=1):
                assert count <= per_minute + (at_s - began_s) * per_minute / 60 + 1e-6


def test_who_waits_as_long_as_told_is_let_in(clients: Clients, clock: Clock) -> None:
    for per_minute in (1, 7, 60, 1000):
        server = Server(client_rate=per_minute)
        for _ in range(per_minute):
            clients.enter(str(per_minute), server)
        with pytest.raises(RateLimited) as caught:
            clients.enter(str(per_minute), server)
        clock.now_s += math.ceil(caught.value.retry_after_s)  # as the header says it
        clients.enter(str(per_minute), server)
