"""A runner without a model, whose answers are exact, for plans on `fake:` paths.

    fake:generate?slots=2&step_s=0.01      one word of the last user message per step, then `stop`
    fake:embed?n_embd=4                    unit vectors made of the input's length
    fake:rank                              how many of the query's words a document has

Asked for the tokens of a text it tells its bytes (not those words that it counts). The rest of the path says
how it misbehaves; see `Knobs`. It speaks the real protocol over the real socket, so that the life cycle and
HTTP are tested with real processes.
Started as `python -m edged.runner.fake FD PULSE_FD`.
"""

import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec

from edged.runner import protocol
from edged.runner.confine import confine
from edged.runner.fake_answers import Job, jobs, next_event, prompt, scores, told, too_long, unit_vector
from edged.runner.pulse import Pulse

N_VOCAB = 32_000
EXIT_CRASHED = 70
_PROGRESS_STEPS = 10

Fault = Literal["crash", "hang", "garbage"]


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `fake:` path may ask for.

    A fault happens after so many steps (0: at the first), in every process or, with `once=FILE`, only if
    that file did not exist yet.
    """

    load_s: float = 0.0
    load_fails: str | None = None  # says LoadFailed with this reason
    crash_at_load: bool = False  # ends without a word
    step_s: float = 0.0
    slots: Annotated[int, msgspec.Meta(ge=1)] | None = None  # instead of the plan's n_seq_max
    full: bool = False  # rejects everything: the queue is full
    fails: bool = False  # rejects everything: computing failed
    crash_after: int | None = None
    hang_after: int | None = None
    garbage_after: int | None = None
    once: str | None = None
    n_embd: Annotated[int, msgspec.Meta(ge=1)] = 8
    chat: bool = True
    tools: protocol.ToolFormat = "hermes"  # what it says that it writes; its answers are the same
    reasons: bool = False  # says that it thinks between <think> and </think>
    opens_reasoning: bool = False  # says that its prompts end with <think>
    file_bytes: int = 1000
    longest: Annotated[int, msgspec.Meta(ge=1)] | None = None  # tokens of an answer; else as many as asked


def knobs_of(path: str) -> Knobs:
    """The knobs of `fake:KIND?knob=value&…`. Raises ValueError for what is none."""
    _, _, query = path.partition("?")
    return msgspec.convert(dict(parse_qsl(query, strict_parsing=bool(query))), Knobs, strict=False)


class FakeRunner:
    """One thread reads frames; this one does everything else."""

    def __init__(self, connection: socket.socket, pulse: Pulse) -> None:
        self._connection = connection
        self._pulse = pulse
        self._frames: queue.SimpleQueue[protocol.ToRunner] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._n_steps = 0
        self._shown = protocol.Gauges(busy_slots=0, queued_requests=0, queued_tokens=0)
        self._told_reads = False
        self._never = threading.Event()

    def run(self) -> int:
        """Load, serve until Shutdown; returns the exit code."""
        threading.Thread(target=self._read, daemon=True).start()
        start = self._frames.get()
        if not isinstance(start, protocol.Start):
            return 1
        try:
            knobs = knobs_of(start.path)
        except ValueError as error:
            self._send(protocol.LoadFailed(f"{start.path}: {error}"))
            return 1
        if self._load(start, knobs):
            self._serve(start, knobs)
            return 0
        return 1

    def _read(self) -> None:
        try:
            for frame in protocol.read_to_runner(self._connection):
                self._frames.put(frame)
        except ConnectionResetError:
            print("fake: the daemon went away without reading everything", file=sys.stderr, flush=True)
        finally:
            os._exit(0)  # the daemon has gone, whatever the other thread is doing

    def _send(self, frame: protocol.FromRunner) -> None:
        try:
            self._connection.sendall(protocol.pack(frame))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # nobody is left to answer to

    def _load(self, start: protocol.Start, knobs: Knobs) -> bool:
        for step in range(_PROGRESS_STEPS):
            done = knobs.file_bytes * step // _PROGRESS_STEPS
            self._send(protocol.Progress("prefetch", done, knobs.file_bytes))
            self._never.wait(knobs.load_s / _PROGRESS_STEPS)
        if knobs.crash_at_load and self._strikes(knobs):
            os._exit(EXIT_CRASHED)
        if knobs.load_fails is not None and self._strikes(knobs):
            self._send(protocol.LoadFailed(knobs.load_fails))
            return False
        self._send(protocol.Progress("prefetch", knobs.file_bytes, knobs.file_bytes))
        self._send(
            protocol.Ready(
                n_ctx=start.n_ctx,
                n_embd=knobs.n_embd,
                n_vocab=N_VOCAB,
                chat=protocol.ChatFormat(knobs.tools, ("<think>", "</think>") if knobs.reasons else None)
                if knobs.chat
                else None,
                prefetch_done=True,
                lazy_map=True,
                timings_s={"vocabulary_s": knobs.load_s, "context_s": 0.0},
                anon_bytes=0,
                reads=protocol.Reads(read_bytes=knobs.file_bytes // 2, major_faults=1),
            )
        )
        return True

    def _serve(self, start: protocol.Start, knobs: Knobs) -> None:
        n_slots = knobs.slots or start.n_seq_max
        step_at_s = time.monotonic()
        while True:
            self._pulse.beat()
            busy = bool(self._running or self._waiting)
            wait_s = max(0.0, step_at_s - time.monotonic()) if busy else None
            for frame in self._arrived(wait_s):
                if isinstance(frame, protocol.Shutdown):
                    return
                if isinstance(frame, protocol.Limit):
                    start = msgspec.structs.replace(start, max_queue_requests=frame.max_queue_requests)
                self._take(frame, start, knobs)
            while self._waiting and len(self._running) < n_slots:
                self._admit(self._waiting.popleft(), knobs)
            if self._running and time.monotonic() >= step_at_s:
                step_at_s = time.monotonic() + knobs.step_s
                self._maybe_strike(knobs)
                self._step(knobs)
            self._show()

    def _arrived(self, wait_s: float | None) -> Iterator[protocol.ToRunner]:
        try:
            yield self._frames.get(timeout=wait_s)
            while True:
                yield self._frames.get_nowait()
        except queue.Empty:
            return

    def _take(self, frame: protocol.ToRunner, start: protocol.Start, knobs: Knobs) -> None:
        match frame:
            case protocol.Cancel():
                self._running = [job for job in self._running if job.request.id != frame.id]
                self._waiting = deque(job for job in self._waiting if job.request.id != frame.id)
            case protocol.Warmup():
                self._send(protocol.Warmed(frame.id, knobs.step_s))
            case protocol.Cool():
                idle = not (self._running or self._waiting)
                self._send(protocol.Cooled(idle, frame.shrink, knobs.file_bytes if idle else 0))
            case protocol.Generate() | protocol.Embed() | protocol.Rank():
                problem = self._problem(frame, start, knobs)
                if problem is not None:
                    self._send(problem)
                elif isinstance(frame, protocol.Generate):
                    self._waiting.extend(jobs(frame, knobs.longest))
                elif isinstance(frame, protocol.Rank):
                    self._answer(scores(frame), knobs)
                else:
                    self._embed(frame, start, knobs)
            case protocol.Tokenize() | protocol.Detokenize() | protocol.Render():
                self._send(told(frame))

    def _problem(
        self, frame: protocol.Generate | protocol.Embed | protocol.Rank, start: protocol.Start, knobs: Knobs
    ) -> protocol.Rejected | None:
        """Why a request is not served."""
        if knobs.full or len(self._waiting) >= start.max_queue_requests:
            return protocol.Rejected(id=frame.id, kind="full", message="the queue is full", retry_after_s=2.5)
        if knobs.fails:
            return protocol.Rejected(id=frame.id, kind="failed", message="computing failed")
        if isinstance(frame, protocol.Generate):
            places = (knobs.slots or start.n_seq_max) + start.max_queue_requests
            if frame.n > places:
                message = f"n: {frame.n} answers are too many; slots and queue hold {places}"
                return protocol.Rejected(id=frame.id, kind="invalid", message=message, param="n")
            if frame.messages is not None and not knobs.chat:
                message = "messages: the model has no chat template; use /v1/completions"
                return protocol.Rejected(id=frame.id, kind="invalid", message=message, param="messages")
            return too_long(frame.id, "prompt", prompt(frame)[1], start.n_ctx)
        inputs = () if isinstance(frame, protocol.Rank) else (*frame.texts, *frame.token_lists)
        for index, length in enumerate(map(len, inputs)):
            refusal = None if frame.truncate else too_long(frame.id, f"input[{index}]", length, start.n_ctx)
            if refusal is not None:
                return refusal
        return None

    def _embed(self, frame: protocol.Embed, start: protocol.Start, knobs: Knobs) -> None:
        self._pulse.compute((frame.id,))
        self._maybe_strike(knobs)
        self._n_steps += 1
        lengths = [min(len(each), start.n_ctx) for each in [*frame.texts, *frame.token_lists]]
        self._never.wait(knobs.step_s)
        vectors = [value for length in lengths for value in unit_vector(length, knobs.n_embd)]
        self._answer(
            protocol.Embeddings(
                id=frame.id,
                n_embd=knobs.n_embd,
                n_tokens=tuple(lengths),
                vectors=struct.pack(f"<{len(vectors)}f", *vectors),
            ),
            knobs,
        )

    def _answer(self, frame: protocol.Step | protocol.Embeddings | protocol.Scores, knobs: Knobs) -> None:
        self._send(frame)
        if not self._told_reads:
            self._told_reads = True
            self._send(protocol.Reads(read_bytes=knobs.file_bytes, major_faults=2))

    def _admit(self, job: Job, knobs: Knobs) -> None:
        self._running.append(job)
        if not job.index:
            self._send(protocol.Admitted(job.request.id, job.n_prompt_tokens, 0, knobs.opens_reasoning))

    def _step(self, knobs: Knobs) -> None:
        self._n_steps += 1
        events = tuple(next_event(job) for job in self._running)
        self._running = [
            job for job, event in zip(self._running, events, strict=True) if event.finish_reason is None
        ]
        self._answer(protocol.Step(events), knobs)

    def _show(self) -> None:
        gauges = protocol.Gauges(
            busy_slots=len(self._running),
            queued_requests=len(self._waiting),
            queued_tokens=sum(job.n_prompt_tokens for job in self._waiting),
        )
        if gauges != self._shown:
            self._shown = gauges
            self._send(gauges)

    def _maybe_strike(self, knobs: Knobs) -> None:
        """Misbehave, if it is time for that."""
        faults: dict[Fault, int | None] = {
            "crash": knobs.crash_after,
            "hang": knobs.hang_after,
            "garbage": knobs.garbage_after,
        }
        for fault, after in faults.items():
            if after is None or self._n_steps < after or not self._strikes(knobs):
                continue
            if fault == "crash":
                print("fake: crashing, as asked", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault == "garbage":
                self._connection.sendall(struct.pack("<I", 7) + b"garbage")
            else:
                self._never.wait()

    def _strikes(self, knobs: Knobs) -> bool:
        if knobs.once is None:
            return True
        try:
            os.close(os.open(knobs.once, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the daemon, which drains
    confine()
    sys.exit(FakeRunner(socket.socket(fileno=int(sys.argv[1])), Pulse(int(sys.argv[2]))).run())
