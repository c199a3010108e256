"""What a runner does with frames while it is busy."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from edged.runner import protocol
from edged.runner.loading import Prefetch
from edged.runner.serving import Kept, Loaded, serve
from edged.runner.turns import Turns


class Engine:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []
        self.warmed: list[int] = []
        self.told_to_warm = threading.Event()

    def cancel(self, request: int) -> None:
        self.cancelled.append(request)

    def warm(self, request: int) -> None:
        self.warmed.append(request)
        self.told_to_warm.set()


class Nowhere:
    """An outbox."""

    def send(self, frame: protocol.FromRunner) -> None: ...


def test_reading_the_file_again_does_not_hold_up_other_frames(tmp_path: Path) -> None:
    slow_file = tmp_path / "m.gguf"
    os.mkfifo(slow_file)  # opening it waits for a writer
    anything: Any = None
    engine: Any = Engine()
    outbox: Any = Nowhere()
    start = msgspec.convert(
        {
            "type": "start",
            **dict.fromkeys(("wait_for_prefetch", "warmup", "repack"), False),
            **dict.fromkeys(("n_ctx", "n_seq_max", "n_batch", "n_ubatch", "n_threads"), 1),
            **dict.fromkeys(("max_queue_tokens", "max_queue_requests"), 1),
            "mlock_bytes": 0,  # what is pinned need not be read again
            **dict.fromkeys(("type_k", "type_v"), "f16"),
            "kind": "embed",
            "path": str(slow_file),
            "prefetch": [[0, 1]],
            "random_access": [],
        },
        protocol.Start,
    )
    reader = Prefetch(start.path, (), outbox.send, Turns(None, 0))
    loaded = Loaded(anything, anything, engine, anything, anything, reader, Kept())
    frames: list[protocol.ToRunner] = [protocol.Warmup(1), protocol.Cancel(2), protocol.Shutdown()]
    serving = threading.Thread(target=lambda: serve(iter(frames), start, loaded, outbox))
    serving.start()
    serving.join(20)
    held_up = serving.is_alive()
    os.close(os.open(slow_file, os.O_WRONLY))
    assert engine.told_to_warm.wait(20)
    serving.join(20)
    assert not held_up
    assert (engine.cancelled, engine.warmed) == ([2], [1])
