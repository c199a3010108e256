"""Whether a model fits, asked before anything is downloaded."""

import shutil
from pathlib import Path

from edged.errors import PullError

# Room for receipts, sidecars and the file system's own bookkeeping.
_DISK_SLACK_BYTES = 4 << 20
# Of a model that no catalog knows: its weights, a context and the process around them.
_UNKNOWN_OVERHEAD_BYTES = 128 << 20


class DoesNotFit(PullError):
    """This machine is too small for it, whatever the source."""


def check_memory(model_id: str, need_bytes: int, have_bytes: int | None, force: bool) -> None:
    """Raises DoesNotFit when this machine's memory is smaller than the need; unknown memory passes."""
    if force or have_bytes is None or need_bytes <= have_bytes:
        return
    need, have = _gigabytes(need_bytes, have_bytes)
    raise DoesNotFit(
        f"{model_id} needs about {need} of memory, this machine has {have}: pull anyway with --force"
    )


def check_disk(model_id: str, folder: Path, need_bytes: int) -> None:
    """Raises DoesNotFit when the disk of `folder` has less than this free."""
    free_bytes = shutil.disk_usage(folder).free
    if need_bytes + _DISK_SLACK_BYTES <= free_bytes:
        return
    need, free = _gigabytes(need_bytes + _DISK_SLACK_BYTES, free_bytes)
    raise DoesNotFit(
        f"{model_id} needs {need} of disk, {folder} has {free} free: "
        "free some, or set storage.model_dir to a larger disk"
    )


def memory_estimate(file_bytes: int) -> int:
    """What serving a model of this file size takes, when nothing else is known of it."""
    return file_bytes + _UNKNOWN_OVERHEAD_BYTES


def _gigabytes(more_bytes: int, less_bytes: int) -> tuple[str, str]:
    """Two sizes in GB, with as many digits as it takes to tell them apart (at most five)."""
    for digits in range(1, 5):
        texts = f"{more_bytes / 1e9:.{digits}f} GB", f"{less_bytes / 1e9:.{digits}f} GB"
        if texts[0] != texts[1]:
            return texts
    return f"{more_bytes} bytes", f"{less_bytes} bytes"
