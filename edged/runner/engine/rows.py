"""Rows of a batch, and how prompts are cut into them. Pure."""

from dataclasses import dataclass

from edged.runner.engine.sequence import Slot


@dataclass(frozen=True, slots=True)
class Row:
    """A slot's part of a batch: `tokens` from position `first` on; the last `n_outputs` are sampled from.

    More than one of them: those after the first are a draft.
    """

    slot: Slot
    first: int
    tokens: list[int]
    n_outputs: int


def rank(slot: Slot) -> tuple[int, int]:
    """Prompts with least left to compute first; what others were given meanwhile counts as computed."""
    assert slot.sequence is not None
    return len(slot.sequence.tokens) - len(slot.cached) - slot.passed_over, slot.sequence.id


def chunks_of(prompts: list[Slot], waits: dict[int, tuple[Slot, int]], room: int) -> list[Row]:
    """Pieces of prompts, at most `room` tokens. Who waits for another passes its place on to that one.

    A piece ends where others want to copy: windows and recurrent states cannot be cut back to there later.
    """
    rows: dict[int, Row] = {}
    for slot in prompts:
        while slot.index in waits:
            slot = waits[slot.index][0]
        if slot.sequence is None or slot.index in rows or room <= 0:
            continue
        first, all_tokens = len(slot.cached), slot.sequence.tokens
        end = min([len(all_tokens), first + room, *(n for leader, n in waits.values() if leader is slot)])
        rows[slot.index] = Row(slot, first, all_tokens[first:end], int(end == len(all_tokens)))
        room -= end - first
    return list(rows.values())
