"""Continuous batching: every step computes one token of each running sequence and a piece of the prompts."""

import time
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from edged.errors import ComputeFailed
from edged.runner.engine.candidates import Logits
from edged.runner.engine.engine import DAMAGED, Send
from edged.runner.engine.lease import Lease
from edged.runner.engine.limit import GRAMMAR_S, GRAMMAR_TOO_SLOW, Watch
from edged.runner.engine.logprobs import log_probabilities
from edged.runner.engine.rows import Row
from edged.runner.engine.scheduler import KvMemory, QueueFull, Scheduler
from edged.runner.engine.sequence import Sequence
from edged.runner.protocol import Admitted, Gauges, Limit, Rejected, Step, TokenEvent, TokenLogprob

_WARM_TOKENS = 8
_LONGEST_RETRY_S = 600.0
TOO_LATE = "the request waited for its turn until its deadline had passed; nothing was computed for it"


class Decoder(KvMemory, Protocol):
    """A llama.cpp context, as far as generation needs it (`edged.runner.model.Context`)."""

    n_ctx: int

    def compute(self, rows: Any) -> bool:
        """Run (sequence, first position, tokens, number of outputs) rows; False when interrupted."""

    def logits(self, index: int) -> Logits:
        """What batch token `index` says of every token; overwritten by the next computation."""

    def logits_are_finite(self, index: int) -> bool:
        """Whether batch token `index` has real logits."""


class Tokens(Protocol):
    """A vocabulary, as far as generation needs it."""

    def piece(self, token: int, *, control: bool = False) -> bytes:
        """The bytes of one token; control tokens give none unless those of `control` tokens are wanted."""

    def ends_generation(self, token: int) -> bool:
        """Whether the model has finished."""


class GenerateWorker:
    """The engine's three lines, for generation: schedule, compute, sample."""

    def __init__(
        self, scheduler: Scheduler, decoder: Decoder, tokens: Tokens, lease: Lease, send: Send
    ) -> None:
        self._scheduler = scheduler
        self._decoder = decoder
        self._tokens = tokens
        self._lease = lease
        self._send = send
        self._watch = Watch(GRAMMAR_S)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return self._scheduler.idle

    @property
    def computing(self) -> frozenset[int]:
        """The requests in slots; those that `step` admits first are added when it runs again."""
        if self._scheduler.waiting and len(self._scheduler.running) < len(self._scheduler.slots):
            return frozenset()
        return frozenset(slot.sequence.id for slot in self._scheduler.running if slot.sequence)

    def add(self, job: Sequence) -> None:
        """Queue a sequence, or reject it when the queue is full."""
        try:
            self._scheduler.add(job)
        except QueueFull as error:
            for sequence in (job, *job.siblings):
                sequence.sampler.close()
            self._refuse(job, "full", str(error))

    def _refuse(self, sequence: Sequence, kind: Literal["full", "late"], why: str) -> None:
        """Say when it would have been its turn: after all that runs and waits now."""
        wait_s = min(_LONGEST_RETRY_S, max(1.0, self._scheduler.work_s or 1.0))
        self._send(Rejected(id=sequence.id, kind=kind, message=why, retry_after_s=wait_s))

    def limit(self, limits: Limit) -> None:
        """Go on by other limits."""
        self._scheduler.limit(limits.max_queue_requests, limits.max_queue_tokens, limits.step_s)

    def cancel(self, request: int) -> None:
        """Drop a sequence wherever it is."""
        self._scheduler.cancel(request)

    def step(self) -> None:
        """One batch for all slots; its tokens leave in one frame."""
        for sequence in self._scheduler.drop_late(time.monotonic()):
            if not sequence.index:
                self._refuse(sequence, "late", TOO_LATE)
        for sequence in self._scheduler.admit():
            self._tell_admitted(sequence)
        rows = self._scheduler.schedule()
        for sequence in self._scheduler.caught_up:
            self._tell_admitted(sequence)
        if self._compute(rows):
            events = self._sample(rows)
            if events:
                self._send(Step(tuple(events)))

    def _tell_admitted(self, sequence: Sequence) -> None:
        if not sequence.index:
            self._send(
                Admitted(
                    sequence.id, sequence.n_prompt_tokens, sequence.n_cached_tokens, sequence.opens_reasoning
                )
            )

    def warm(self) -> None:
        """Compute a few tokens in a free slot. Raises ComputeFailed when they give no numbers."""
        free = [slot for slot in self._scheduler.slots if not slot.sequence]
        if not free:
            return  # every slot is busy: nothing could be warmer
        slot = min(free, key=lambda slot: len(slot.cached))
        self._scheduler.reset(slot)
        with self._lease.held():
            done = self._decoder.compute([(slot.index, 0, [0] * _WARM_TOKENS, 1)])
        finite = done and self._decoder.logits_are_finite(_WARM_TOKENS - 1)
        self._scheduler.reset(slot)
        if not done:
            raise ComputeFailed("interrupted")
        if not finite:
            raise ComputeFailed(DAMAGED)

    def gauges(self) -> Gauges:
        """Busy slots and the queue."""
        speculation = self._scheduler.speculation
        return Gauges(
            drafted_tokens=speculation.n_drafted if speculation else 0,
            accepted_tokens=speculation.n_accepted if speculation else 0,
            busy_slots=len(self._scheduler.running),
            queued_requests=len(self._scheduler.waiting),
            queued_tokens=self._scheduler.queued_tokens,
        )

    def _compute(self, rows: list[Row]) -> bool:
        try:
            with self._lease.held():
                begin_s = time.monotonic()
                done = self._decoder.compute(
                    [(row.slot.index, row.first, row.tokens, row.n_outputs) for row in rows]
                )
                elapsed_s = time.monotonic() - begin_s
        except ComputeFailed as error:
            for row in rows:
                self._fail(row, str(error))
            return False
        if not done:  # interrupted
            for row in rows:
                self._scheduler.interrupted(row)
            return False
        self._scheduler.computed(rows, elapsed_s)
        return True

    def _sample(self, rows: list[Row]) -> list[TokenEvent]:
        events: list[TokenEvent] = []
        index = -1
        for row in rows:
            index += len(row.tokens)
            sequence = row.slot.sequence
            if sequence is None or not row.n_outputs:
                continue
            if not sequence.n_generated and not self._decoder.logits_are_finite(index):
                self._fail(row, DAMAGED)
                continue
            events += self._answer(row, sequence, index + 1 - row.n_outputs)
        return events

    def _answer(self, row: Row, sequence: Sequence, index: int) -> Iterator[TokenEvent]:
        """Sample after each token that was certain, and after drafted ones for as long as they were right.

        `index`: of the first in the batch. Each is sampled as it would be in a step of its own, so that no
        draft changes what is answered.
        """
        draft = row.tokens[len(row.tokens) + 1 - row.n_outputs :]
        n_accepted = 0
        while True:
            event = self._advance(
                sequence, self._next_token(sequence, index + n_accepted), index + n_accepted
            )
            if (due := sequence.due(event)) is not None:
                yield due
            if event.finish_reason or n_accepted == len(draft) or sequence.tokens[-1] != draft[n_accepted]:
                break
            n_accepted += 1
        if draft:
            self._scheduler.verified(row, n_accepted)
        if event.finish_reason:
            self._scheduler.release(row.slot)

    def _next_token(self, sequence: Sequence, index: int) -> int | None:
        if not sequence.has_grammar:
            return sequence.sampler.choose(self._decoder.logits(index))
        refusal = Rejected(id=sequence.id, kind="invalid", message=GRAMMAR_TOO_SLOW, param="grammar")
        with self._watch.over(lambda: self._send(refusal)):
            return sequence.sampler.choose(self._decoder.logits(index))

    def _advance(self, sequence: Sequence, token: int | None, index: int) -> TokenEvent:
        if token is None or self._tokens.ends_generation(token):
            return _event(sequence, sequence.text.finish(), "stop")
        piece = self._tokens.piece(token, control=sequence.control_pieces)
        sequence.tokens.append(token)
        if sequence.top_logprobs is not None:
            entry = self._logprob(index, token, sequence.top_logprobs)
            sequence.logprobs.add(sequence.text.n_characters, entry)
        text = sequence.text.push(piece)
        reason: Literal["stop", "length"] | None = None
        if sequence.text.stopped:
            reason = "stop"
        elif sequence.n_generated >= sequence.max_tokens or len(sequence.tokens) >= self._decoder.n_ctx:
            text += sequence.text.finish()
            reason = "stop" if sequence.text.stopped else "length"
        return _event(sequence, text, reason)

    def _logprob(self, index: int, token: int, n_top: int) -> TokenLogprob:
        logprob, top = log_probabilities(self._decoder.logits(index), token, n_top)
        likeliest = tuple((self._tokens.piece(each), value) for each, value in top)
        ids = (token, *(each for each, _ in top))
        return TokenLogprob(self._tokens.piece(token), logprob, likeliest, ids)

    def _fail(self, row: Row, message: str) -> None:
        failed = row.slot.sequence
        self._scheduler.reset(row.slot)
        if failed:
            self._send(Rejected(id=failed.id, kind="failed", message=message))
            self._scheduler.cancel(failed.id)  # its siblings


def _event(sequence: Sequence, text: str, reason: Literal["stop", "length"] | None) -> TokenEvent:
    """What may be sent of a sequence now."""
    entries = sequence.logprobs.release(sequence.text, ended=reason is not None)
    return TokenEvent(
        sequence.id,
        text,
        sequence.n_generated,
        reason,
        sequence.index,
        entries,
        sequence.text.stopped_by if reason else "",
    )
