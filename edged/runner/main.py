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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edged.errors import ComputeFailed, InvalidRequest, ModelFileError
from edged.runner import protocol
from edged.runner.ahead import begin_to_import
from edged.runner.bindings import bind_alone
from edged.runner.confine import confine
from edged.runner.engine.limit import GRAMMAR_S, GRAMMAR_TOO_SLOW, at_most
from edged.runner.loading import Prefetch, anon_bytes, lazy_map_is_loaded, reads_so_far, telling_reads
from edged.runner.mapping import Rows, advise_random, pin
from edged.runner.outbox import Outbox
from edged.runner.pulse import Pulse
from edged.runner.turns import Turns
from edged.runner.warmth import Warmth, pin_behind

if TYPE_CHECKING:
    from edged.runner.engine.engine import Engine
    from edged.runner.engine.lease import Lease
    from edged.runner.intake import Intake
    from edged.runner.model import Context, Model

_FIRST_CHUNK_TOKENS = 64  # of a prompt beside answers, until it is known how long that takes
_OOM_SCORE_ADJ = "500"  # the kernel should take a runner before the daemon


class Kept(NamedTuple):
    """What a context holds for later requests: `put_away` writes what is wanted again, `forget` drops all."""

    put_away: Callable[[], None] = lambda: None
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Loaded:
    """A loaded model with everything that serves it."""

    model: "Model"
    context: "Context"
    engine: "Engine[Any]"
    intake: "Intake"
    rows: Rows
    prefetch: Prefetch
    kept: Kept

    def forget(self) -> None:
        """Keep hot prefixes, and forget every sequence; on the engine's thread, while nothing runs."""
        self.kept.put_away()
        self.kept.forget()

    def stop(self) -> None:
        """Stop computing and keep hot prefixes. The memory goes with the process."""
        self.engine.stop()
        self.kept.put_away()


def main() -> int:
    """Load, serve until the daemon says Shutdown or goes away; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the daemon, which drains
    _offer_to_the_oom_killer()
    confine()
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
        loaded = load(start, prefetch, outbox, pulse)
    except (ModelFileError, ComputeFailed) as error:
        outbox.send(protocol.LoadFailed(str(error)))
        return 1
    try:
        serve(asking(frames, turns), start, loaded, outbox)
    finally:
        prefetch.stop()
        loaded.stop()
    return 0


def load(start: protocol.Start, prefetch: Prefetch, outbox: Outbox, pulse: Pulse) -> Loaded:
    """Model, context, engine; says `Ready`. Raises ModelFileError, or ComputeFailed from the warm-up."""
    clock = _Clock()
    bind_alone()
    from edged.runner.engine.engine import Engine
    from edged.runner.engine.lease import Lease
    from edged.runner.intake import Intake
    from edged.runner.model import Context, Model

    clock.lap("import_s")
    outbox.send(protocol.Progress("vocabulary", 0, 0))
    prefetch.wait_until_begun()
    if start.pass_waits and start.repack:
        prefetch.wait()
    clock.lap("turn_wait_s")
    model = Model(start)
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
    loaded = Loaded(
        *(model, context, engine),
        intake=Intake(model, context.n_ctx, start.n_seq_max + start.max_queue_requests),
        rows=Rows(start.path, start.random_access, model.vocabulary.size),
        prefetch=prefetch,
        kept=kept,
    )
    outbox.send(
        protocol.Ready(
            n_ctx=context.n_ctx,
            n_embd=model.n_embd,
            n_vocab=model.vocabulary.size,
            chat=loaded.intake.chat,
            prefetch_done=prefetch.done,
            lazy_map=lazy_map_is_loaded(),
            timings_s=clock.laps_s,
            anon_bytes=anon_bytes(),
            reads=reads_so_far(),
            reading_s=prefetch.reading_s if prefetch.done else None,
        )
    )
    return loaded


def asking(frames: Iterator[protocol.ToRunner], turns: Turns) -> Iterator[protocol.ToRunner]:
    """The same frames; requests hurry the reader."""
    for frame in frames:
        if isinstance(frame, protocol.Generate | protocol.Embed | protocol.Rank):
            turns.ask()
        yield frame


def serve(frames: Iterator[protocol.ToRunner], start: protocol.Start, loaded: Loaded, outbox: Outbox) -> None:
    """Pass requests on until Shutdown, or until the daemon closes the connection."""
    warmth = Warmth(start, loaded, outbox.send)
    for frame in frames:
        match frame:
            case protocol.Generate() | protocol.Embed() | protocol.Rank():
                try:
                    _check_kind(frame, start)
                    loaded.engine.submit(_job(frame, loaded, outbox))
                except InvalidRequest as error:
                    outbox.send(_refusal(frame.id, str(error), error.param))
            case protocol.Tokenize() | protocol.Detokenize() | protocol.Render():
                outbox.send(_told(frame, loaded.intake))
            case protocol.Cancel():
                loaded.engine.cancel(frame.id)
            case protocol.Warmup():
                warmth.warm(frame.id)
            case protocol.Cool():
                warmth.cool(frame)
            case protocol.ReadAhead():
                warmth.read_ahead(allowed=frame.allowed)
            case protocol.Limit():
                loaded.engine.limit(frame)
                loaded.intake.max_answers = start.n_seq_max + frame.max_queue_requests
            case protocol.Ping():
                loaded.engine.ping()
            case protocol.Shutdown():
                return


def _check_kind(frame: protocol.Generate | protocol.Embed | protocol.Rank, start: protocol.Start) -> None:
    """Raises InvalidRequest for what this kind of model does not do."""
    kind = frame.__struct_config__.tag
    if kind != start.kind:
        raise InvalidRequest(f"model: it is of kind {start.kind}, and this needs one of kind {kind}", "model")


def _job(frame: protocol.Generate | protocol.Embed | protocol.Rank, loaded: Loaded, outbox: Outbox) -> Any:
    intake = loaded.intake
    if not isinstance(frame, protocol.Generate):
        job = intake.embed_job(frame) if isinstance(frame, protocol.Embed) else intake.rank_job(frame)
        loaded.rows.want(job.inputs)
        return job
    if frame.sampling.grammar is None:
        return intake.sequence(frame)
    with at_most(GRAMMAR_S, lambda: outbox.send(_refusal(frame.id, GRAMMAR_TOO_SLOW, "grammar"))):
        return intake.sequence(frame)


def _told(
    asked: protocol.Tokenize | protocol.Detokenize | protocol.Render, intake: "Intake"
) -> protocol.FromRunner:
    """The answer to what needs no slot."""
    try:
        match asked:
            case protocol.Tokenize():
                return intake.tokens(asked)
            case protocol.Detokenize() | protocol.Render():
                return intake.text(asked)
    except InvalidRequest as error:
        return _refusal(asked.id, str(error), error.param)


def _refusal(request: int, message: str, param: str | None) -> protocol.Rejected:
    return protocol.Rejected(id=request, kind="invalid", message=message, param=param)


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
