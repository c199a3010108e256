"""A runner: one process, one model. The daemon starts `python -m edged.runner.main FD PULSE_FD [spare]`.

Reading begins before anything heavy is imported: on slow storage the file is the floor, and imports,
vocabulary and context hide behind it. A runner that is not told at once what to read (models are being
planned, or it is a spare for a later load) imports meanwhile, in a thread that does not hold up the reader.
"""

import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.errors import ComputeFailed, ModelFileError
from edged.runner import protocol
from edged.runner.ahead import begin_to_import
from edged.runner.bindings import bind_alone
from edged.runner.confine import confine
from edged.runner.loading import Prefetch, anon_bytes, lazy_map_is_loaded, reads_so_far, telling_reads
from edged.runner.mapping import Rows, advise_random, pin
from edged.runner.outbox import Outbox
from edged.runner.pulse import Pulse
from edged.runner.renderer import Renderer
from edged.runner.serving import Kept, Loaded, asking, serve
from edged.runner.turns import Turns
from edged.runner.warmth import pin_behind

if TYPE_CHECKING:
    from edged.runner.engine.lease import Lease
    from edged.runner.model import Context, Model

_FIRST_CHUNK_TOKENS = 64  # of a prompt beside answers, until it is known how long that takes
_OOM_SCORE_ADJ = "500"  # the kernel should take a runner before the daemon


def main() -> int:
    """Load, serve until the daemon says Shutdown or goes away; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the daemon, which drains
    _offer_to_the_oom_killer()
    confine()
    renderer = Renderer.fork()
    connection = socket.socket(fileno=int(sys.argv[1]))
    pulse = Pulse(int(sys.argv[2]))
    if not select.select([connection], [], [], 0)[0]:
        begin_to_import(pulse, unhurried=sys.argv[3:] == ["spare"])
    frames = protocol.read_to_runner(connection)
    start = next(frames, None)
    if not isinstance(start, protocol.Start):
        return 1
    outbox = Outbox(connection)
    turns = Turns(start.board_fd, start.number)
    prefetch = Prefetch(start.path, start.prefetch, outbox.send, turns, pulse.beat)
    prefetch.start()
    try:
        loaded = load(start, prefetch, outbox, pulse, renderer)
    except (ModelFileError, ComputeFailed) as error:
        outbox.send(protocol.LoadFailed(str(error)))
        return 1
    try:
        serve(asking(frames, turns), start, loaded, outbox)
    finally:
        prefetch.stop()
        loaded.stop()
    return 0


def load(
    start: protocol.Start, prefetch: Prefetch, outbox: Outbox, pulse: Pulse, renderer: Renderer
) -> Loaded:
    """Model, context, engine; says `Ready`. Raises ModelFileError, or ComputeFailed from the warm-up."""
    clock = _Clock()
    bind_alone()
    from edged.runner.engine.engine import Engine
    from edged.runner.engine.lease import Lease
    from edged.runner.intake import Intake, chat_template, template_source
    from edged.runner.model import Context, Model

    clock.lap("import_s")
    outbox.send(protocol.Progress("vocabulary", 0, 0))
    prefetch.wait_until_begun()
    if start.pass_waits and start.repack:
        prefetch.wait()
    clock.lap("turn_wait_s")
    model = Model(start)
    source = template_source(model) if start.kind == "generate" else None
    if source is not None:
        renderer.prepare(source)
    else:
        renderer.close()
    advise_random(start.path, start.random_access)
    clock.lap("vocabulary_s")
    outbox.send(protocol.Progress("context", 0, 0))
    abort_flag = ctypes.c_int(0)
    context = Context(model, start, abort_flag)
    clock.lap("context_s")
    if start.wait_for_prefetch:
        prefetch.wait()
        clock.lap("prefetch_wait_s")
    if start.mlock_bytes and start.wait_for_prefetch:
        pin(start.path, start.prefetch)
    elif start.mlock_bytes:
        threading.Thread(target=pin_behind, args=(start, prefetch), name="pin", daemon=True).start()
    short = start.kind != "generate"
    lease = Lease(start.lease_fd, short=short, storage_bound=lambda: not prefetch.done, beat=pulse.beat)
    worker, kept = _worker(start, model, context, lease, outbox)
    pulse.count_nodes()
    engine = Engine(
        *(worker, abort_flag, outbox.send),
        first_wait=prefetch.wait if start.pass_waits else prefetch.wait_for_turn,
        beat=pulse.beat,
        show_computing=pulse.compute,
    )
    engine.start()
    if start.warmup:
        outbox.send(protocol.Progress("warmup", 0, 0))
        engine.warm_up()
        clock.lap("warmup_s")
    chat = chat_template(renderer, model.vocabulary) if source is not None else None
    intake = Intake(model, context.n_ctx, start.n_seq_max + start.max_queue_requests, chat)
    loaded = Loaded(
        *(model, context, engine),
        intake=intake,
        rows=Rows(start.path, start.random_access, model.vocabulary.size),
        prefetch=prefetch,
        kept=kept,
    )
    outbox.send(
        protocol.Ready(
            n_ctx=context.n_ctx,
            n_embd=model.n_embd,
            n_vocab=model.vocabulary.size,
            chat=intake.chat,
            prefetch_done=prefetch.done,
            lazy_map=lazy_map_is_loaded(),
            timings_s=clock.laps_s,
            anon_bytes=anon_bytes(),
            reads=reads_so_far(),
            reading_s=prefetch.reading_s if prefetch.done else None,
        )
    )
    return loaded


def _worker(
    start: protocol.Start, model: "Model", context: "Context", lease: "Lease", outbox: Outbox
) -> tuple[Any, Kept]:
    """What computes, and what its context keeps."""
    from edged.runner.engine.embed import SCORES, VECTORS, EmbedWorker
    from edged.runner.engine.generate import GenerateWorker
    from edged.runner.engine.pace import Pace
    from edged.runner.engine.scheduler import Limits, Scheduler
    from edged.runner.engine.speculation import Speculation
    from edged.runner.model import cells_key
    from edged.runner.shelf import Shelf, put_away, rates_of

    send = telling_reads(outbox.send)
    if start.kind != "generate":
        if not context.pools:
            raise ModelFileError(
                f"{start.path}: has no pooling, so it gives no embeddings; set kind: generate"
            )
        outcome = SCORES if start.kind == "rank" else VECTORS
        most = (start.max_queue_requests, start.max_queue_tokens)
        return EmbedWorker(context, lease, send, *most, outcome), Kept()
    limits = Limits(
        n_slots=start.n_seq_max,
        n_batch=start.n_batch,
        max_queue_requests=start.max_queue_requests,
        max_queue_tokens=start.max_queue_tokens,
    )
    pace = Pace(start.step_s, min(_FIRST_CHUNK_TOKENS, start.n_batch))
    shelf = None
    if start.prefix_dir is not None and start.prefix_bytes:
        shelf = Shelf(
            Path(start.prefix_dir), start.prefix_bytes, cells_key(start), context, rates_of(start, pace)
        )
    drafts = start.max_draft_tokens and not model.is_recurrent  # recurrent states cannot be cut
    speculation = Speculation(start.max_draft_tokens) if drafts else None
    scheduler = Scheduler(limits, context, pace, shelf, speculation)
    worker = GenerateWorker(scheduler, context, model.vocabulary, lease, send)
    if shelf is None:
        return worker, Kept(forget=scheduler.forget)
    return worker, Kept(lambda: put_away(shelf, scheduler.hot_prefixes(), context.keep), scheduler.forget)


def _offer_to_the_oom_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)
    except OSError as error:
        print(f"oom_score_adj cannot be set: {error}", file=sys.stderr)


class _Clock:
    """Times between laps, by name."""

    def __init__(self) -> None:
        self.laps_s: dict[str, float] = {}
        self._last_s = time.monotonic()

    def lap(self, name: str) -> None:
        now_s = time.monotonic()
        self.laps_s[name] = now_s - self._last_s
        self._last_s = now_s


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # destructors take 80 ms for what the kernel does in 30, and the next load waits for it
