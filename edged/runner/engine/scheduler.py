"""Which tokens go into the next batch. Never touches the model; the engine runs what this decides.

Decoding sequences come first, one token each; what is left of the batch goes to prompts in the order of
arrival, in chunks, so that a long prompt cannot hold up those who already receive their answers.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edged.runner.engine.sequence import Sequence, Slot


class KvMemory(Protocol):
    """The KV cache, as far as admission needs it."""

    def keep(self, sequence: int, n_tokens: int) -> int:
        """Drop a slot's cells from position `n_tokens` on; returns how many could be kept."""

    def copy(self, source: int, target: int) -> None:
        """Make all cells of slot `target` those of slot `source`."""


class QueueFull(Exception):
    """The queue holds as much as it may."""

    def __init__(self, queued_requests: int, queued_tokens: int) -> None:
        super().__init__(
            f"the queue is full ({queued_requests} requests, {queued_tokens} prompt tokens wait)"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A slot's part of a batch: `tokens` from position `first` on; the last one is sampled from if asked."""

    slot: Slot
    first: int
    tokens: list[int]
    wants_output: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """`prefill_beside_decode` bounds how long a decoding sequence waits for others' prompts in one step."""

    n_slots: int
    n_batch: int
    prefill_beside_decode: int
    max_queue_requests: int
    max_queue_tokens: int


class Scheduler:
    """Slots and the queue in front of them."""

    def __init__(self, limits: Limits, memory: KvMemory) -> None:
        self._limits = limits
        self._memory = memory
        self.slots = [Slot(index) for index in range(limits.n_slots)]
        self.waiting: deque[Sequence] = deque()

    @property
    def queued_tokens(self) -> int:
        """Prompt tokens that wait for a slot."""
        return sum(len(sequence.tokens) for sequence in self.waiting)

    @property
    def running(self) -> list[Slot]:
        """Slots that work on a sequence."""
        return [slot for slot in self.slots if slot.sequence]

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence and its siblings, beyond those that free slots are about to take.

        Raises QueueFull; a prompt of any length is let in where nothing waits.
        """
        group = (sequence, *sequence.siblings)
        queued = len(self.waiting) - (self._limits.n_slots - len(self.running))
        tokens = self.queued_tokens
        too_long = tokens + len(group) * len(sequence.tokens) > self._limits.max_queue_tokens
        if queued + len(group) > self._limits.max_queue_requests or (queued > 0 and too_long):
            raise QueueFull(len(self.waiting), tokens)
        self.waiting.extend(group)

    def admit(self) -> Iterator[Sequence]:
        """Give free slots to waiting sequences; each goes where most of its prompt is already cached."""
        while self.waiting and (free := [slot for slot in self.slots if not slot.sequence]):
            sequence = self.waiting.popleft()
            # of equal prefixes, the slot with least to lose
            slot = max(free, key=lambda slot: (slot.common_prefix(sequence.tokens), -len(slot.cached)))
            kept = self._memory.keep(slot.index, slot.common_prefix(sequence.tokens))
            slot.cached = sequence.tokens[:kept]
            slot.sequence = sequence
            sequence.n_cached_tokens = kept
            yield sequence

    def schedule(self) -> list[Row]:
        """The next batch: at most n_batch tokens."""
        rows: list[Row] = []
        prefilling: list[tuple[Slot, Sequence]] = []
        for slot in self.slots:
            if slot.sequence and len(slot.cached) == len(slot.sequence.tokens) - 1:
                rows.append(Row(slot, len(slot.cached), slot.sequence.tokens[-1:], True))
            elif slot.sequence:
                prefilling.append((slot, slot.sequence))
        room = self._limits.n_batch - len(rows)
        if rows:
            room = min(room, self._limits.prefill_beside_decode)
        for slot, sequence in sorted(prefilling, key=lambda pair: pair[1].id):
            first = len(slot.cached)
            tokens = sequence.tokens[first : first + room]
            if tokens:
                rows.append(Row(slot, first, tokens, first + len(tokens) == len(sequence.tokens)))
                room -= len(tokens)
        return rows

    def computed(self, rows: Iterable[Row]) -> None:
        """The rows' tokens are in the KV cache now."""
        for row in rows:
            row.slot.cached += row.tokens

    def release(self, slot: Slot) -> None:
        """The slot's sequence is over; its cells stay for a later prompt that begins alike."""
        if slot.sequence:
            slot.sequence.sampler.close()
        slot.sequence = None

    def reset(self, slot: Slot) -> None:
        """Release the slot and drop its cells: what they hold is not known."""
        self.release(slot)
        self._memory.keep(slot.index, 0)
        slot.cached = []

    def cancel(self, request: int) -> None:
        """Drop a sequence wherever it is. Unknown ids are those that have just finished: nothing to do."""
        for slot in self.running:
            if slot.sequence and slot.sequence.id == request:
                self.release(slot)
        for sequence in [sequence for sequence in self.waiting if sequence.id == request]:
            self.waiting.remove(sequence)
            sequence.sampler.close()
