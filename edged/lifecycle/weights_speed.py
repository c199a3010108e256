"""Which weight format is best on this machine, by measuring files of each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edged.hw.cpu import cpu_facts
from edged.hw.probe import probe
from edged.lifecycle.process import plain_environment
from edged.policy.weights import choose_weights
from edged.store.catalog import ConvertTo
from edged.store.conversion import Choose

_MEASURING_S = 180.0  # seconds on most machines
_MODULE = "edged.runner.weights_speed"


def best_here(model_dir: Path) -> Choose:
    """A choice among files by format, the default first, for a model that will lie in `model_dir`."""

    def choose(default: ConvertTo, files: Mapping[ConvertTo, Path]) -> tuple[ConvertTo, str]:
        seconds = _measured(files)
        if isinstance(seconds, str):
            return default, f"weights {default}: which format is fastest here is not known ({seconds})"
        (storage,) = probe([str(model_dir)], {}).storage or (None,)
        return choose_weights(default, seconds, storage.kind if storage else None)

    return choose


def _measured(files: Mapping[ConvertTo, Path]) -> dict[ConvertTo, float] | str:
    """Seconds per token by format, or what went wrong: the pull goes on without them."""
    n_threads = cpu_facts().usable_cores or 1
    try:
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, str(n_threads), *map(str, files.values())],
            env=plain_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MEASURING_S,
            check=True,
        )
        seconds = msgspec.json.decode(done.stdout, type=list[float])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, msgspec.ValidationError) as error:
        return f"measuring failed: {type(error).__name__}"
    if len(seconds) != len(files) or not all(0 < each < float("inf") for each in seconds):
        return "measuring gave no numbers"
    return dict(zip(files, seconds, strict=True))
