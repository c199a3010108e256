"""Whether a load may begin now, waits, makes others leave, or is refused: a pure function of the account.

Loads are served in the order in which they came. A later one goes first only where it takes nothing that an
earlier one needs. Others leave only for a load that somebody waits for.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from edged.config.schema import Memory
from edged.config.units import format_bytes
from edged.policy.account import Account, Claim
from edged.policy.evict import Candidate, victims

_MIB = 1 << 20

Verdict = Literal["admitted", "waits", "refused"]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A load that is not admitted yet. `is_urgent`: somebody waits for it."""

    model: str
    claim: Claim
    is_urgent: bool


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds it.

    `leaving` are those in the account that go as soon as their requests are answered, `candidates` those that
    could be made to, `pinned` those that never are. `ahead_bytes` is what earlier loads wait for.
    """

    account: Account
    leaving: Collection[str] = ()
    pinned: Collection[str] = ()
    candidates: Sequence[Candidate] = ()
    ahead_bytes: int = 0

    def need_bytes(self, models: Collection[str]) -> int:
        """What those of the models need that are in the account."""
        claims = {**self.account.loaded, **self.account.in_flight}
        return sum(claims[model].need_bytes for model in models if model in claims)

    @property
    def most_bytes(self) -> int:
        """What one load can have at most, with everybody gone who may be made to go."""
        return self.account.budget_bytes - self.need_bytes(self.pinned)


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a load, and who is to leave for it besides those who leave already."""

    verdict: Verdict
    leave: tuple[str, ...] = ()


def decide(wish: Wish, scene: Scene) -> Decision:
    """Never admits what does not fit: those who are leaving are in the account until they have left."""
    account, need_bytes = scene.account, wish.claim.need_bytes
    if wish.model in account.loaded or wish.model in account.in_flight:
        return Decision("waits")  # for the end of its runner of before
    in_turn_bytes = account.room_bytes + scene.need_bytes(scene.leaving) - scene.ahead_bytes
    if need_bytes <= min(account.room_bytes, in_turn_bytes):
        return Decision("admitted")
    if need_bytes <= in_turn_bytes:
        return Decision("waits")
    if not wish.is_urgent or need_bytes > scene.most_bytes:
        return Decision("refused")
    return Decision("waits", victims(scene.candidates, need_bytes - in_turn_bytes) or ())


def why_waiting(wish: Wish, scene: Scene) -> str:
    """For people: what it needs, what there is, and who leaves."""
    room = format_bytes(max(0, scene.account.room_bytes))
    leaving = ", ".join(sorted(scene.leaving))
    for_whom = f"; {leaving} will be unloaded after the present requests" if leaving else ""
    return f"it needs {format_bytes(wish.claim.need_bytes)}, and {room} are free{for_whom}"


def why_refused(wish: Wish, scene: Scene, memory: Memory) -> str:
    """Need, have, and which setting would help."""
    need_bytes = wish.claim.need_bytes
    have_bytes = scene.most_bytes if wish.is_urgent else scene.account.room_bytes
    pinned = {model: scene.need_bytes([model]) for model in scene.pinned}
    beside = ", ".join(f"{model} ({format_bytes(taken)})" for model, taken in pinned.items() if taken)
    need, have = format_bytes(need_bytes), format_bytes(max(0, have_bytes))
    models = format_bytes(max(0, scene.account.budget_bytes))
    taken = f", beside {beside}, which is pinned," if beside and wish.is_urgent else ""
    if not wish.is_urgent:
        free = f"{have} of {models} are free"
        return f"it needs {need}, and {free}: others leave for it when a request asks for it"
    return (
        f"it needs {need}, and there are{taken} {have}"
        f" of the {models} that models may take now: {_remedy(wish, pinned, need_bytes - have_bytes, memory)}"
    )


def _remedy(wish: Wish, pinned: Mapping[str, int], lacking_bytes: int, memory: Memory) -> str:
    for model, taken_bytes in pinned.items():
        if taken_bytes >= lacking_bytes:
            return f"set models.{model}.pinned to false, and it fits"
    ways = [f"set models.{wish.model}.n_ctx or n_seq_max lower"]
    if memory.budget != "auto":
        ways.append(f"memory.budget to {-(-(memory.budget + lacking_bytes) // _MIB)}MiB or more")
    if memory.reserve >= lacking_bytes:
        ways.append(f"memory.reserve to {(memory.reserve - lacking_bytes) // _MIB}MiB or less")
    return ", or ".join(ways) + ", or let other programs take less memory"
