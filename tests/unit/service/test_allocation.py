"""What a large request has taken goes back."""

import platform
import subprocess
import sys

import pytest

# threads as a server has them, each of which takes and frees blocks of the size of a large body
_WORK = """
import sys, threading
from pathlib import Path
from edged.service.allocation import give_back_large_blocks

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def work():
    for _ in range(2):
        pieces = [b"x" * (6 << 20) for _ in range(4)]
        pieces = b"".join(pieces)

if sys.argv[1] == "give back":
    give_back_large_blocks()
before = resident_bytes()
for _ in range(2):
    threads = [threading.Thread(target=work) for _ in range(3)]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
print(resident_bytes() - before)
"""


def _left_bytes(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", _WORK, how], capture_output=True, check=True, timeout=60)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing")
def test_threads_keep_no_large_blocks() -> None:
    assert _left_bytes("keep") > 16 << 20, "the measure is not needed any more"
    assert _left_bytes("give back") < 4 << 20
