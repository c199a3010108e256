"""For all tests: signals as a terminal would leave them, no test that hangs for ever, llama.cpp alone."""

import signal

from edged.runner.bindings import bind_alone

bind_alone()  # as runners do: the library around it leaves files open


def pytest_configure() -> None:
    """Undo what whoever started this may have ignored: children would inherit it, and not hear SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
