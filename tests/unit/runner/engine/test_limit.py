"""What takes too long ends its process; what does not goes on."""

import subprocess
import sys

import pytest

from edged.runner.engine.limit import EXIT_TOO_LONG, at_most

_BLOCKS = {
    "one": "with at_most(0.05, give_up): wait(60)",
    "the first": "with Watch(0.05).over(give_up): wait(60)",
    "one that follows others": """
watch = Watch(0.4)
for wait_s in (0, 0, 0.1, 0, 0.1):
    with watch.over(lambda: print("too early")): wait(wait_s)
wait(0.9)
for wait_s in (0, 0.1, 60):
    with watch.over(give_up): wait(wait_s)
""",
}
_SCRIPT = """
import threading
from edged.runner.engine.limit import Watch, at_most
wait = threading.Event().wait
def give_up(): print("gave up", flush=True)
"""


@pytest.mark.parametrize("which", _BLOCKS)
def test_what_takes_too_long_gives_up_and_ends_the_process(which: str) -> None:
    script = _SCRIPT + _BLOCKS[which]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (EXIT_TOO_LONG, "gave up\n")


def test_what_is_over_in_time_is_let_be() -> None:
    with at_most(60.0, lambda: pytest.fail("it was over")):
        over = True
    assert over
