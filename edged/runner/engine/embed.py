"""Embeddings and scores: inputs of all waiting requests in micro-batches, cut by tokens."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from edged.errors import ComputeFailed
from edged.runner.engine.batch_size import BatchSize
from edged.runner.engine.engine import DAMAGED, Send
from edged.runner.engine.lease import Lease
from edged.runner.protocol import Embeddings, FromRunner, Gauges, Limit, Rejected, Scores


class Encoder(Protocol):
    """A llama.cpp context, as far as embedding needs it (`edged.runner.model.Context`)."""

    n_batch: int
    n_seq_max: int

    def compute(self, rows: Any) -> bool:
        """Run (sequence, first position, tokens, number of outputs) rows; False when interrupted."""

    def embedding(self, sequence: int) -> Any:
        """The pooled vector of one sequence, or its scores."""

    def clear(self) -> None:
        """Forget every sequence."""


@dataclass(slots=True)
class EmbedJob:
    """A request's inputs as tokens, and the vectors so far."""

    id: int
    inputs: list[list[int]]
    vectors: list[Any]
    n_tokens_left: int = field(init=False)  # of the inputs not yet computed

    def __post_init__(self) -> None:
        self.n_tokens_left = sum(map(len, self.inputs))

    def add(self, vector: Any) -> None:
        """The vector of the next input."""
        self.n_tokens_left -= len(self.inputs[len(self.vectors)])
        self.vectors.append(vector)


class Outcome(NamedTuple):
    """What is made of the pooled rows of a batch, and the frame that says what a job has come to."""

    of: Callable[[Any], Any]  # raises ComputeFailed for what are no numbers
    frame: Callable[[EmbedJob, Any], FromRunner]


def _units(raw: Any) -> Any:
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ComputeFailed(DAMAGED)
    return raw / norms


def _numbers(raw: Any) -> Any:
    if not np.isfinite(raw).all():
        raise ComputeFailed(DAMAGED)
    return raw


def _embeddings(job: EmbedJob, rows: Any) -> FromRunner:
    n_tokens = tuple(map(len, job.inputs))
    return Embeddings(id=job.id, n_embd=rows.shape[1], n_tokens=n_tokens, vectors=rows.tobytes())


def _scores(job: EmbedJob, rows: Any) -> FromRunner:
    """The first label's: a classifier with more has "yes" or the like there."""
    return Scores(id=job.id, scores=tuple(rows[:, 0].tolist()), n_tokens=sum(map(len, job.inputs)))


VECTORS = Outcome(_units, _embeddings)
SCORES = Outcome(_numbers, _scores)


class EmbedWorker:
    """Schedule, compute, pool; on the engine thread."""

    def __init__(
        self,
        encoder: Encoder,
        lease: Lease,
        send: Send,
        max_requests: int,
        max_tokens: int,
        outcome: Outcome = VECTORS,
    ) -> None:
        self._encoder = encoder
        self._lease = lease
        self._send = send
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._outcome = outcome
        self._jobs: list[EmbedJob] = []  # in order of arrival
        self._oldest_first = True
        self._size = BatchSize(encoder.n_batch)

    @property
    def idle(self) -> bool:
        """Nothing waits."""
        return not self._jobs

    @property
    def computing(self) -> frozenset[int]:
        """The jobs of the next micro-batch."""
        return frozenset(job.id for job, _ in self._next_batch())

    def add(self, job: EmbedJob) -> None:
        """Queue a job, or reject it; one job of any size is let in when nothing waits."""
        queued = self._queued_tokens()
        too_many = len(self._jobs) >= self._max_requests
        if too_many or (self._jobs and queued + job.n_tokens_left > self._max_tokens):
            message = f"the queue is full ({len(self._jobs)} requests, {queued} tokens wait)"
            self._send(Rejected(id=job.id, kind="full", message=message))
            return
        self._jobs.append(job)

    def limit(self, limits: Limit) -> None:
        """Go on by other limits."""
        self._max_requests, self._max_tokens = limits.max_queue_requests, limits.max_queue_tokens

    def cancel(self, request: int) -> None:
        """Drop a job."""
        self._jobs = [job for job in self._jobs if job.id != request]

    def step(self) -> None:
        """Compute one micro-batch and send the jobs that it completes."""
        batch = self._next_batch()
        self._oldest_first = not self._oldest_first
        rows = [(index, 0, tokens, 1) for index, (_, tokens) in enumerate(batch)]
        try:
            with self._lease.held():
                begin_s = time.monotonic()
                done = self._encoder.compute(rows)
            vectors = self._pooled(len(batch)) if done else None
        except ComputeFailed as error:
            self._fail({job.id for job, _ in batch}, str(error))
            return
        finally:
            self._encoder.clear()
        if vectors is None:
            return  # interrupted: whoever cancelled has left, the others are computed again
        self._size.measured(sum(len(tokens) for _, tokens in batch), time.monotonic() - begin_s)
        for (job, _), vector in zip(batch, vectors, strict=True):
            job.add(vector)
        for job in [job for job in self._jobs if not job.n_tokens_left]:
            self._finish(job)
            self._jobs.remove(job)

    def warm(self) -> None:
        """Compute a short input. Raises ComputeFailed when it gives no numbers."""
        try:
            with self._lease.held():
                done = self._encoder.compute([(0, 0, [0] * 8, 1)])
            if not done:
                raise ComputeFailed("interrupted")
            self._pooled(1)
        finally:
            self._encoder.clear()

    def gauges(self) -> Gauges:
        """The queue."""
        return Gauges(
            busy_slots=min(1, len(self._jobs)),
            queued_requests=max(0, len(self._jobs) - 1),
            queued_tokens=self._queued_tokens(),
        )

    def _queued_tokens(self) -> int:
        return sum(job.n_tokens_left for job in self._jobs)

    def _next_batch(self) -> list[tuple[EmbedJob, list[int]]]:
        """Inputs up to the size that is fastest here; one long input makes a batch alone.

        By turns the oldest request and the one with the least left come first: neither a huge request nor a
        flood of small ones can hold up the others.
        """
        batch: list[tuple[EmbedJob, list[int]]] = []
        n_tokens = 0
        by_turns = self._jobs if self._oldest_first else sorted(self._jobs, key=lambda job: job.n_tokens_left)
        for job in by_turns:
            for tokens in islice(job.inputs, len(job.vectors), None):
                n_tokens += len(tokens)
                if batch and (n_tokens > self._size.tokens or len(batch) >= self._encoder.n_seq_max):
                    return batch
                batch.append((job, tokens))
        return batch

    def _pooled(self, n_sequences: int) -> Any:
        """A row for each of the sequences just computed."""
        raw = np.stack([self._encoder.embedding(sequence) for sequence in range(n_sequences)])
        return self._outcome.of(raw)

    def _finish(self, job: EmbedJob) -> None:
        self._send(self._outcome.frame(job, np.stack(job.vectors).astype("<f4", copy=False)))

    def _fail(self, requests: set[int], message: str) -> None:
        for request in requests:
            self._send(Rejected(id=request, kind="failed", message=message))
            self.cancel(request)
