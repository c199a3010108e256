"""Runner processes that start before there are plans: their imports take as long as measuring the storage."""

import errno
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edged.config.paths import model_path
from edged.config.schema import Config
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.process import RunnerProcess, llama_libraries

log = logging.getLogger(__name__)

# A runner without a model takes about 25 MB. Where a few of these are all there is, none is started in vain.
_ROOM_BYTES = 96 << 20


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """That runners were started before their plans, and the memory that there was before."""

    memory: MemoryFacts


def imports_are_cached() -> bool:
    """Whether importing reads no storage: after a power-on it does, and would spoil what is measured there.

    True where that cannot be found out.
    """
    folder = llama_libraries()
    if folder is None:
        return False  # the runner says what is wrong
    return all(begin_is_cached(library) for library in folder.glob("libllama.so*"))


def begin_is_cached(path: Path) -> bool:
    """Whether a file's first page can be read without waiting; mincore(2) tells only a file's owner."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EAGAIN  # another one: not every filesystem can tell
    finally:
        os.close(file)
    return True


def how_many(models: int, memory: MemoryFacts, cores: int) -> int:
    """How many to start for so many models: importing needs a core each, and room for those not used."""
    usable_bytes = memory.usable_bytes
    room = 1 if usable_bytes is None else usable_bytes // _ROOM_BYTES
    return max(0, min(models, cores, room))


def how_many_now(config: Config, memory: MemoryFacts) -> int:
    """How many to start for a configuration: none where that would spoil the measurement of the storage."""
    if not imports_are_cached():
        return 0
    wanted = [model for model, settings in config.models.items() if settings.preload]
    there = sum(model_path(config, model).is_file() for model in wanted)
    return how_many(there, memory, len(os.sched_getaffinity(0)))


class Spares:
    """Runners that wait for their model. Each belongs to whoever takes it; the others end with `close`."""

    def __init__(self, count: int, inherited: Sequence[int]) -> None:
        """Start `count` of them, or fewer where the system has no more processes to give."""
        self._lock = threading.Lock()
        self._waiting: list[RunnerProcess] = []
        try:
            for _ in range(count):
                self._waiting.append(RunnerProcess("edged.runner.main", inherited))
        except OSError as error:
            log.warning("a runner cannot be started ahead of its plan: %s", error)
        except BaseException:
            self.close()
            raise

    def take(self) -> RunnerProcess | None:
        """One that is alive; None when there is none."""
        while (process := self._pop()) is not None:
            if process.alive:
                return process
            process.close()
        return None

    def keep(self, count: int) -> None:
        """End those beyond `count`."""
        with self._lock:
            ended, self._waiting = self._waiting[count:], self._waiting[:count]
        for process in ended:
            process.kill()
        for process in ended:
            process.close()

    def close(self) -> None:
        """End all that nobody took."""
        self.keep(0)

    def _pop(self) -> RunnerProcess | None:
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None
