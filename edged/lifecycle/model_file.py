"""Which files must not be loaded."""

import logging
from pathlib import Path

import msgspec

from edged.errors import ModelFileError
from edged.gguf.header import read_header
from edged.policy.types import LoadPlan
from edged.store import receipt

log = logging.getLogger(__name__)


def check_file(plan: LoadPlan) -> None:
    """Refuse a file that is cut short, or that changed after it was pulled and has another hash now.

    llama.cpp would end its process on the first and serve wrong numbers from the second.
    Raises ModelFileError.
    """
    if plan.path.startswith("fake:"):
        return
    path = Path(plan.path)
    read_header(path)
    pulled = receipt.read(path)
    if pulled is None or not receipt.changed_since_pull(path):
        return
    log.warning("%s: %s changed since it was pulled; comparing its hash", plan.model, path)
    result = receipt.verify(path)
    if result.status != "ok":
        raise ModelFileError(f"{path} is damaged: {result.reason}; pull it again")
    try:
        receipt.write(path, msgspec.structs.replace(pulled, mtime_ns=path.stat().st_mtime_ns))
    except OSError as error:  # the service may not write to its models
        log.info("%s: is as it was pulled; not noted, so the next load compares again: %s", plan.model, error)
