"""GET /edged/v1/events."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from edged.api.native.events import stream
from edged.lifecycle.feed import MOST_FOLLOWERS, Feed, PressureStep
from tests.api.conftest import Json, Running, Serve, eventually


def follow(running: Running) -> http.client.HTTPResponse:
    """The events, from now on."""
    connection = running.connect()
    connection.request("GET", "/edged/v1/events", headers={"Connection": "close"})
    return connection.getresponse()


def events(response: http.client.HTTPResponse) -> Iterator[Json]:
    """What is told."""
    for line in response:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def until(told: Iterator[Json], holds: Callable[[Json], bool]) -> list[Json]:
    """Events up to the one that is waited for."""
    found = []
    for event in told:
        found.append(event)
        if holds(event):
            return found
    raise AssertionError(f"the events ended with {found}")


def is_state(model: str, state: str) -> Callable[[Json], bool]:
    return lambda event: (event["event"], event.get("model"), event.get("state")) == ("state", model, state)


def test_the_present_states_come_first(edged: Running) -> None:
    with follow(edged) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        told = events(response)
        first = [next(told), next(told)]
    assert [(each["model"], each["before"], each["state"]) for each in first] == [
        ("chat", None, "ready"),
        ("embed", None, "ready"),
    ]
    assert all(each["event"] == "state" and each["at_s"] > 1.7e9 for each in first)


def test_a_load_and_an_unload_are_told_from_beginning_to_end(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=0.2"}, preload=False)
    with follow(running) as response:
        told = events(response)
        assert next(told)["state"] == "unloaded"
        running.pool.load("chat")
        loaded = until(told, is_state("chat", "ready"))
        assert [each["state"] for each in loaded if each["event"] == "state"] == ["loading", "ready"]
        assert loaded[0]["cause"] == "demand"
        progress = [each for each in loaded if each["event"] == "progress"]
        assert [each["bytes_done"] for each in progress] == sorted(each["bytes_done"] for each in progress)
        assert progress[-1]["bytes_done"] == progress[-1]["bytes_total"]
        running.pool.unload("chat")
        gone = until(told, is_state("chat", "unloaded"))
        assert [each["before"] for each in gone if each["event"] == "state"] == ["ready", "unloading"]


def test_a_crash_is_told_with_its_reason(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?crash_after=0"})
    with follow(running) as response:
        told = events(response)
        assert next(told)["state"] == "ready"
        assert running.chat("hi").status == 500
        failed = until(told, lambda event: "SIGKILL" in (event.get("reason") or ""))
        assert failed[-1]["state"] == "failed"
        again = until(told, is_state("chat", "ready"))
        assert again[-1]["cause"] == "crash"


def test_the_events_end_when_edged_drains(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"})
    with follow(running) as response:
        told = events(response)
        next(told)
        running.pool.feed.close()
        assert list(told)[-1] == {"event": "end"}
    assert running.get("/edged/v1/events").status == 503


def test_more_than_enough_followers_are_refused_and_health_still_answers(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?slots=1&step_s=60"}, server={"max_requests": 1})
    following = [follow(running) for _ in range(MOST_FOLLOWERS)]
    assert running.get("/edged/v1/events").status == 429
    working = threading.Thread(target=lambda: running.chat("hi", ignore_eos=True))
    working.start()
    assert eventually(lambda: running.sample("edged_requests_working") == 1)
    for path in ("/livez", "/readyz", "/edged/v1/models"):
        assert running.get(path).status == 200
    for response in following:
        response.close()
    assert eventually(lambda: not running.pool.feed.is_followed)
    running.pool.unload("chat")
    working.join()


def test_silence_is_broken_now_and_then() -> None:
    feed = Feed()
    gone = False
    told = stream((), feed.follow(), lambda: gone, heartbeat_s=0.01)
    assert next(told) == b": nothing new\n\n"
    feed.publish(PressureStep(step="cool", reason="memory is short"))
    event: Any = next(told)
    assert event.startswith(b"id: 1\nevent: pressure\ndata: {")
    gone = True
    assert list(told) == []
