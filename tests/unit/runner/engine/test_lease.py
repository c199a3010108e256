"""One process computes at a time; neither a dead holder nor a hung one keeps the others."""

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


def test_a_hung_holder_is_waited_for_once_and_its_end_is_noticed() -> None:
    fd = os.memfd_create("lease")
    try:
        with Lease(fd).held() as holder:
            assert holder
            waiter = Lease(fd, patience_s=0.05)
            with waiter.held() as granted:
                assert not granted
            with waiter.held() as granted:
                assert not granted, "and it did not wait again"
        for thread in threading.enumerate():
            if thread.name == "lease":
                thread.join()
        with Lease(fd, patience_s=30).held() as granted:
            assert granted, "the waiter's belated lock was given back"
        with waiter.held() as granted:
            assert granted, "and it may wait again"
    finally:
        os.close(fd)
