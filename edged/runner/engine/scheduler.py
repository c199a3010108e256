"""Which tokens go into the next batch. Never touches the model; the engine runs what this decides.

Decoding sequences come first, one token each; then prompts, in chunks that keep the step within its bound,
so that a long prompt cannot hold up those who already receive their answers. The prompt with least left comes
first, and each counts as shorter by what others were given meanwhile: short ones pass long ones, but none
waits for more than its own length.
"""

from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Protocol

from edged.runner.engine.pace import Pace
from edged.runner.engine.prefix import common_length, leader_of, place
from edged.runner.engine.rows import Row, chunks_of, rank
from edged.runner.engine.sequence import Sequence, Slot
from edged.runner.engine.speculation import Speculation


class KvMemory(Protocol):
    """The KV cache, as far as admission needs it."""

    def keep(self, sequence: int, n_tokens: int) -> int:
        """Drop a slot's cells from position `n_tokens` on; returns how many could be kept."""

    def holds(self, sequence: int, n_tokens: int) -> bool:
        """Whether the slot still has all cells that a prompt needs which continues after `n_tokens`."""

    def copy(self, source: int, target: int) -> None:
        """Make all cells of slot `target` those of slot `source`."""

    @property
    def settled(self) -> bool:
        """Whether all copies were made: until then nothing may be restored or saved."""


class Shelf(Protocol):
    """Prefixes that outlived the process that computed them."""

    def restore(self, slot: int, tokens: list[int], n_there: int) -> list[int] | None:
        """Fill the slot's cells where that is quicker than computing what `n_there` lacks of `tokens`.

        Returns the tokens that the cells hold now, or None: nothing was touched.
        """


class QueueFull(Exception):
    """The queue holds as much as it may."""

    def __init__(self, queued_requests: int, queued_tokens: int) -> None:
        super().__init__(
            f"the queue is full ({queued_requests} requests, {queued_tokens} prompt tokens wait)"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sequences and tokens are worked on at once, and how many may wait."""

    n_slots: int
    n_batch: int
    max_queue_requests: int
    max_queue_tokens: int


_FIRST_GUESS_ANSWER_TOKENS = 128.0


class Scheduler:
    """Slots and the queue in front of them."""

    def __init__(
        self,
        limits: Limits,
        memory: KvMemory,
        pace: Pace,
        shelf: Shelf | None = None,
        speculation: Speculation | None = None,
    ) -> None:
        self._limits = limits
        self._memory = memory
        self._pace = pace
        self._shelf = shelf
        self.speculation = speculation
        self._admissions = 0
        self._mean_answer_tokens = _FIRST_GUESS_ANSWER_TOKENS
        self.caught_up: list[Sequence] = []  # whose n_cached_tokens has grown in the last `schedule`
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

    @property
    def work_s(self) -> float | None:
        """How long everything takes that runs and waits; None while no pace is known."""
        sequences = [slot.sequence for slot in self.running if slot.sequence] + list(self.waiting)
        cached = sum(
            min(len(slot.cached), slot.sequence.n_prompt_tokens) for slot in self.running if slot.sequence
        )
        answers = sum(
            max(0.0, min(each.max_tokens, self._mean_answer_tokens) - each.n_generated) for each in sequences
        )
        prompts = sum(each.n_prompt_tokens for each in sequences) - cached
        return self._pace.work_s(prompts, answers, len(self.slots))

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

    def limit(self, max_queue_requests: int, max_queue_tokens: int, step_s: float) -> None:
        """Let so many wait from now on, and a step that also computes prompts take so long."""
        self._limits = replace(
            self._limits, max_queue_requests=max_queue_requests, max_queue_tokens=max_queue_tokens
        )
        self._pace.step_s = step_s

    def drop_late(self, now_s: float) -> list[Sequence]:
        """Take those out of the queue whose deadline has passed: nobody waits for their answers any more."""
        late = [sequence for sequence in self.waiting if sequence.deadline_s <= now_s]
        for sequence in late:
            self.waiting.remove(sequence)
            sequence.sampler.close()
        return late

    def admit(self) -> Iterator[Sequence]:
        """Give free slots to waiting sequences; each goes where most of its prompt need not be computed."""
        restorable = not self.running  # reading a file would make answers under way wait
        while self.waiting and len(self.running) < len(self.slots):
            sequence = self.waiting.popleft()
            self._admissions += 1
            shared = [self._shared(slot, sequence) for slot in self.slots]
            placement = place(self.slots, shared, self._admissions)
            slot = placement.slot
            slot.sequence, slot.passed_over, slot.used_at = sequence, 0, self._admissions
            ready = restorable and self._memory.settled and sequence.cache_prompt
            if not (ready and self._restored(slot, placement.n_tokens)):
                self._take(slot, placement.source or slot, placement.n_tokens)
            sequence.n_cached_tokens = len(slot.cached)
            yield sequence

    def hot_prefixes(self) -> list[tuple[int, list[int]]]:
        """Slots and what of their cells was asked for again, each prefix once."""
        slots = sorted(self.slots, key=lambda slot: -slot.reused)
        hot: list[tuple[int, list[int]]] = []
        for slot in slots:
            tokens = slot.cached[: slot.reused]
            if tokens and not any(longer[: len(tokens)] == tokens for _, longer in hot):
                hot.append((slot.index, tokens))
        return hot

    def _shared(self, slot: Slot, sequence: Sequence) -> int:
        """How much of a prompt the slot can give; at least one token is left to compute."""
        if not sequence.cache_prompt:
            return 0
        common = min(common_length(slot.cached, sequence.tokens), len(sequence.tokens) - 1)
        return common if common and self._memory.holds(slot.index, common) else 0

    def _take(self, slot: Slot, source: Slot, n_tokens: int) -> None:
        """Make the first `n_tokens` of its sequence what the slot holds."""
        assert slot.sequence is not None
        if source is not slot:
            self._memory.copy(source.index, slot.index)
            source.reused = max(source.reused, n_tokens)
        kept = self._memory.keep(slot.index, n_tokens)
        slot.cached = slot.sequence.tokens[:kept]
        slot.reused = kept

    def _restored(self, slot: Slot, n_there: int) -> bool:
        if self._shelf is None or slot.sequence is None:
            return False
        tokens = self._shelf.restore(slot.index, slot.sequence.tokens, n_there)
        if tokens is None:
            return False
        slot.cached = tokens
        self._take(slot, slot, self._shared(slot, slot.sequence))
        return True

    def schedule(self) -> list[Row]:
        """The next batch: at most n_batch tokens."""
        waits = self._follow()
        rows: list[Row] = []
        prompts: list[Slot] = []
        for slot in self.slots:
            if slot.sequence and len(slot.cached) == len(slot.sequence.tokens) - 1:
                rows.append(Row(slot, len(slot.cached), slot.sequence.tokens[-1:], 1))
            elif slot.sequence:
                prompts.append(slot)
        if not prompts and self.speculation:
            return self._with_drafts(rows, self.speculation)
        room = self._limits.n_batch - len(rows)
        if rows:
            room = min(room, self._pace.chunk_tokens)
        chunks = chunks_of(sorted(prompts, key=rank), waits, room)
        given = sum(len(row.tokens) for row in chunks)
        for slot in prompts:
            slot.passed_over += given - sum(len(row.tokens) for row in chunks if row.slot is slot)
        return rows + chunks

    def _with_drafts(self, rows: list[Row], speculation: Speculation) -> list[Row]:
        """Let each row carry what probably follows, where that pays."""
        lookups = [row.slot.sequence.lookup() if row.slot.sequence else None for row in rows]
        room = self._limits.n_batch // max(1, len(rows)) - 1
        rooms = [row.slot.sequence.n_left - 1 for row in rows if row.slot.sequence]
        drafts = speculation.drafts(lookups, min([room, *rooms]))
        return [
            Row(row.slot, row.first, row.tokens + draft, 1 + len(draft))
            for row, draft in zip(rows, drafts, strict=False)
        ] or rows

    def _follow(self) -> dict[int, tuple[Slot, int]]:
        """Copy what others have computed by now; tells who still waits for whom, and for how many tokens."""
        waits: dict[int, tuple[Slot, int]] = {}
        self.caught_up.clear()
        running = self.running
        for slot in running:
            sequence = slot.sequence
            if sequence is None or not sequence.cache_prompt:
                continue
            if len(slot.cached) >= sequence.n_prompt_tokens - 1:
                continue
            leader = leader_of(slot, running)
            if leader and len(leader[0].cached) < leader[1]:
                waits[slot.index] = leader
            elif leader and self._memory.holds(leader[0].index, leader[1]):
                computed = len(slot.cached)
                self._take(slot, *leader)
                sequence.n_cached_tokens += max(0, len(slot.cached) - computed)
                self.caught_up.append(sequence)
        return waits

    def computed(self, rows: SequenceOf[Row], elapsed_s: float) -> None:
        """The rows' tokens are in the KV cache now; that took `elapsed_s`."""
        for row in rows:
            row.slot.cached += row.tokens
        n_decoding = sum(len(row.tokens) == 1 for row in rows)
        n_draft = max([0, *(row.n_outputs - 1 for row in rows)])
        if not n_draft:
            self._pace.measured(n_decoding, sum(len(row.tokens) for row in rows) - n_decoding, elapsed_s)
        if self.speculation and (n_draft or n_decoding == len(rows)):
            self.speculation.measured(len(rows), n_draft, elapsed_s)

    def verified(self, row: Row, n_accepted: int) -> None:
        """So many of a row's drafted tokens were right; the others' cells go.

        Where they cannot go alone, the sequence is computed again, and nothing is drafted any more.
        """
        n_draft, wanted = row.n_outputs - 1, row.first + 1 + n_accepted
        kept = self._memory.keep(row.slot.index, wanted) if n_accepted < n_draft else wanted
        if self.speculation:
            self.speculation.verified(n_draft, n_accepted, may_go_on=kept == wanted)
        _cut(row.slot, kept)

    def interrupted(self, row: Row) -> None:
        """Release the row's slot and drop its cells: which of them were written is not known."""
        self.release(row.slot)
        _cut(row.slot, self._memory.keep(row.slot.index, row.first))

    def release(self, slot: Slot) -> None:
        """The slot's sequence is over; its cells stay for a later prompt that begins alike."""
        if slot.sequence:
            slot.sequence.sampler.close()
            self._mean_answer_tokens += 0.1 * (slot.sequence.n_generated - self._mean_answer_tokens)
        slot.sequence = None

    def reset(self, slot: Slot) -> None:
        """Release the slot and drop its cells: what they hold is not known."""
        self.release(slot)
        _cut(slot, self._memory.keep(slot.index, 0))

    def forget(self) -> None:
        """Every slot's cells are gone; nothing runs."""
        for slot in self.slots:
            _cut(slot, 0)

    def cancel(self, request: int) -> None:
        """Drop a sequence wherever it is. Unknown ids are those that have just finished: nothing to do."""
        for slot in self.running:
            if slot.sequence and slot.sequence.id == request:
                self.release(slot)
        for sequence in [sequence for sequence in self.waiting if sequence.id == request]:
            self.waiting.remove(sequence)
            sequence.sampler.close()


def _cut(slot: Slot, kept: int) -> None:
    """The slot's cells hold only `kept` tokens any more."""
    del slot.cached[kept:]
    slot.reused = min(slot.reused, kept)
