import threading
import time

from edged.hw.deadline import results_until


def test_results_by_key() -> None:
    calls = {"a": lambda: 1, "b": lambda: 2}

    assert results_until(time.monotonic() + 60, calls) == {"a": 1, "b": 2}


def test_nothing_to_call() -> None:
    assert results_until(time.monotonic() + 60, {}) == {}


def test_a_call_that_fails_has_no_result() -> None:
    def dead() -> int:
        raise OSError("stale file handle")

    assert results_until(time.monotonic() + 60, {"dead": dead, "alive": lambda: 1}) == {"alive": 1}


def test_a_call_that_blocks_is_left_behind() -> None:
    release = threading.Event()
    answered = threading.Event()

    def alive() -> bool:
        answered.set()
        return True

    try:
        results = results_until(time.monotonic() + 0.2, {"hung": release.wait, "alive": alive})
        assert answered.is_set()
        assert "hung" not in results
    finally:
        release.set()


def test_a_deadline_in_the_past_waits_for_nothing() -> None:
    release = threading.Event()
    try:
        assert results_until(time.monotonic() - 1, {"hung": release.wait}) == {}
    finally:
        release.set()
