"""A runner that closes its connection and stays alive. `python -m tests.unit.lifecycle.rude FD`."""

import os
import signal
import sys

os.close(int(sys.argv[1]))
print("closed", flush=True)
signal.pause()
