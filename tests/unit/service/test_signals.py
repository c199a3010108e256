"""Real signals to this process."""

import os
import signal

from edged.service.signals import Signals


def test_a_signal_is_queued_and_does_not_kill() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait(20) == signal.SIGTERM
        assert signals.wait(0.001) is None


def test_they_come_in_order() -> None:
    with Signals() as signals:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert [signals.wait(20) for _ in range(3)] == [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


def test_the_previous_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Signals():
        assert signal.getsignal(signal.SIGINT) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
