"""Where a pull keeps what it has so far, `<model_dir>/.partial/<id>/`, and the lock on a model directory.

Nothing in it is ever loaded: a model gets its final name only when it is whole. `about.json` says what the
folder is for; when that is not what is wanted now, the folder starts empty.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edged.errors import PullError
from edged.store.progress import Progress
from edged.store.receipt import sync_folder

FOLDER = ".partial"
_SCRATCH = "scratch-"
LOCK = ".lock"  # no model id begins with a dot


class Work:
    """The folder of one pull."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "files"  # whole and verified, under the names that the catalog gives

    def file(self, name: str) -> Path:
        """Where a verified file lies."""
        return self.files / name

    def part(self, name: str) -> Path:
        """Where a file lies while it is being received."""
        return self.root / "parts" / f"{name.replace('/', '_')}.part"

    def scratch(self) -> Path:
        """An empty folder for a child process, or for what is made of the files."""
        folder = self.root / f"{_SCRATCH}{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def remove(self) -> None:
        """Forget everything: the model is in place."""
        shutil.rmtree(self.root)


def open_work(model_dir: Path, model_id: str, about: dict[str, object]) -> Work:
    """The work folder of a model; it starts empty unless an earlier pull of the same thing left it."""
    root = model_dir / FOLDER / model_id
    sidecar = root / "about.json"
    content = msgspec.json.format(msgspec.json.encode(about)) + b"\n"
    if root.exists():
        with contextlib.suppress(OSError):
            if sidecar.read_bytes() == content:
                for stale in root.glob(f"{_SCRATCH}*"):
                    shutil.rmtree(stale)
                return Work(root)
        shutil.rmtree(root)
    root.mkdir(parents=True)
    write_durably(sidecar, content)
    return Work(root)


def forget(model_dir: Path, model_id: str) -> None:
    """Remove what a pull left that died between its last rename and tidying up.

    A courtesy: nothing happens while another pull is under way or where one may not write.
    """
    root = model_dir / FOLDER / model_id
    if not root.exists():
        return
    with contextlib.suppress(OSError), (model_dir / FOLDER / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(root)


def unfinished(model_dir: Path) -> dict[str, int]:
    """The models whose pull was begun and not finished, with the bytes kept for them."""
    kept = {folder.name: _received_bytes(folder) for folder in sorted((model_dir / FOLDER).glob("*/"))}
    return {model_id: size_bytes for model_id, size_bytes in kept.items() if size_bytes}


@contextlib.contextmanager
def locked(model_dir: Path, progress: Progress) -> Iterator[bool]:
    """Hold the model directory against other pulls; waits for one that is under way (then yields True).

    The kernel frees the lock when its holder dies, however it dies.
    """
    (model_dir / FOLDER).mkdir(mode=0o755, parents=True, exist_ok=True)
    with (model_dir / FOLDER / LOCK).open("a") as lock:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"another pull into {model_dir} is under way: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        except OSError as error:
            raise PullError(f"{model_dir}: cannot be locked: {error.strerror}") from error
        yield waited


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file as a whole."""
    part = path.with_name(f"{path.name}.new")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _received_bytes(folder: Path) -> int:
    """What a work folder holds besides its sidecar and logs."""
    return sum(folder_bytes(path) for path in folder.glob("*/"))


def folder_bytes(folder: Path) -> int:
    """The bytes on disk below a folder, while others may be changing it."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            total += min(facts.st_size, facts.st_blocks * 512)
    return total
