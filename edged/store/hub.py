"""Models on the Hugging Face hub, fetched by huggingface-hub in a process of its own.

Its own process, because then its many kinds of failure, its threads and its memory end with it, and
because only a pull that really asks the hub imports it. It resumes what it has begun in its folder.
"""

import os
import re
import sys
from pathlib import Path

import msgspec

from edged.errors import PullError
from edged.store import child
from edged.store.catalog import Artifact, Hub
from edged.store.incoming import WrongContent
from edged.store.job import Job
from edged.store.receipt import sha256_of
from edged.store.work import folder_bytes

# Resuming metadata and locks that huggingface-hub keeps beside the files.
_SLACK_BYTES = 32 << 20
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Enabled|Exception|Timeout): ?")


def fetch(source: Hub, job: Job) -> None:
    """Deliver the missing files. Raises PullError with the reason."""
    missing = job.missing()
    need_bytes = sum(file.size_bytes or 0 for file in missing)
    converted_bytes = (job.wanted.size_bytes or 0) if job.wanted.convert_to else 0
    folder = job.work.root / "hub"
    folder.mkdir(exist_ok=True)
    job.check_disk(max(0, need_bytes - folder_bytes(folder)) + converted_bytes)
    label = f"{job.wanted.id}: {source.repo} from the hub"
    exit_status, output = child.run(
        [
            sys.executable,
            "-P",
            str(Path(__file__).with_name("hub_fetch.py")),
            _order(source, missing, folder),
        ],
        os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        job.work.root / "hub.log",
        child.Watch(
            folder,
            need_bytes + _SLACK_BYTES,
            lambda now: job.progress.advance(label, min(now, need_bytes), need_bytes),
        ),
    )
    if exit_status:
        raise PullError(_reason(output))
    for artifact in missing:
        _accept(folder / artifact.name, artifact, job)


def _order(source: Hub, files: tuple[Artifact, ...], folder: Path) -> str:
    order = {"repo": source.repo, "revision": source.revision, "folder": str(folder), "files": files}
    return msgspec.json.encode(order).decode()


def _accept(path: Path, artifact: Artifact, job: Job) -> None:
    """Check one file and move it to its place."""
    found = sha256_of(path)
    if found != artifact.sha256:
        path.unlink()
        raise WrongContent(f"{artifact.name} has the sha256 {found}, expected {artifact.sha256}: thrown away")
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    target = job.work.file(artifact.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)


def _reason(output: str) -> str:
    """The message of the exception that ended the child: its last traceback's last paragraph, as one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if _EXCEPTION.match(line)]
    said = lines[starts[-1] :] if starts else lines[-1:]
    return _EXCEPTION.sub("", " ".join(said))[:400] or "huggingface-hub failed without a word"
