"""What takes too long ends its process; what does not goes on."""

import subprocess
import sys

import pytest

from edged.runner.engine.limit import EXIT_TOO_LONG, at_most

_SCRIPT = """
import threading
from edged.runner.engine.limit import at_most
with at_most(0.05, lambda: print("gave up", flush=True)):
    threading.Event().wait(60)
"""


def test_what_takes_too_long_gives_up_and_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (EXIT_TOO_LONG, "gave up\n")


def test_what_is_over_in_time_is_let_be() -> None:
    with at_most(60.0, lambda: pytest.fail("it was over")):
        over = True
    assert over
