"""What a runner imports while it waits to be told of a model."""

import contextlib
import importlib
import os
import threading

from edged.runner.bindings import bind_alone
from edged.runner.pulse import Pulse

_LEAST_PRIORITY = 19


def begin_to_import(pulse: Pulse, *, unhurried: bool) -> None:
    """Import in a thread what models need, and beat when that is done; returns at once.

    What goes wrong is the load's to say, which imports it again. `unhurried`: nobody waits for it, but others
    compute.
    """
    threading.Thread(target=_import, args=(pulse, unhurried), name="import", daemon=True).start()


def _import(pulse: Pulse, unhurried: bool) -> None:
    """All of it: a module that is read once the file's reader is at work waits behind what was read ahead."""
    if unhurried:  # this thread alone: a process without privileges could not take its own priority back
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        bind_alone()
        for name in ("model", "intake", "shelf", "engine.embed", "engine.generate", "engine.speculation"):
            importlib.import_module(f"edged.runner.{name}")
    pulse.beat()
