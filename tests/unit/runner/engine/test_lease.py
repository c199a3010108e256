"""One process computes at a time, and a dead holder does not keep the lease."""

import os
import subprocess
import sys
import threading

from edged.runner.engine.lease import Lease

_HOLDER = """
import sys
from edged.runner.engine.lease import Lease
with Lease(int(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_frees_the_lease_and_until_then_others_wait() -> None:
    fd = os.memfd_create("lease")
    try:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(fd)],
            pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            entered = threading.Event()

            def take() -> None:
                with Lease(fd).held():
                    entered.set()

            waiter = threading.Thread(target=take)
            waiter.start()
            assert not entered.wait(0.2)
            holder.kill()
            assert entered.wait(30)
            waiter.join()
    finally:
        os.close(fd)
