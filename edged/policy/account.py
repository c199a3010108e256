"""The memory account: what the models hold or are about to, against what there is for them.

Claims are planned values until measured ones take their place. A load has its whole claim from the moment it
begins, so that two loads that begin together can never both be counted on the same bytes.
"""

from collections.abc import Mapping

import msgspec

from edged.config.schema import Memory
from edged.hw.memory import without
from edged.hw.snapshot import MemoryFacts
from edged.policy.memory import budget_of
from edged.policy.pinning import WINDOW_BYTES
from edged.policy.types import LoadPlan

INEXACT_SHARE = 0.05  # of a claim: so far predictions may be off


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one model takes, by what becomes of it under pressure."""

    anon_bytes: int = 0  # never given back while its runner lives
    hot_bytes: int = 0  # of the file: without them every answer reads the storage again
    cold_bytes: int = 0  # of the file: may go at no great loss

    @property
    def need_bytes(self) -> int:
        """What must be there for the model to be worth its memory."""
        return self.anon_bytes + self.hot_bytes


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who has what. A model is in one of the two maps at most."""

    budget_bytes: int
    loaded: Mapping[str, Claim] = {}
    in_flight: Mapping[str, Claim] = {}  # loads that have begun and are not ready
    spare_bytes: int = 0  # of a runner without a model; in the room, since it gives way to all

    @property
    def taken_bytes(self) -> int:
        """What models need, those in flight included."""
        return sum(claim.need_bytes for claims in (self.loaded, self.in_flight) for claim in claims.values())

    @property
    def room_bytes(self) -> int:
        """What one more model may need. Below zero where other processes have grown into what models have."""
        return self.budget_bytes - self.taken_bytes

    def begin(self, model: str, claim: Claim) -> "Account":
        """A load begins; whatever the model had before is gone."""
        others = self.without(model)
        return msgspec.structs.replace(others, in_flight={**others.in_flight, model: claim})

    def settle(self, model: str, claim: Claim) -> "Account":
        """The model is loaded, or what it holds has been measured anew."""
        others = self.without(model)
        return msgspec.structs.replace(others, loaded={**others.loaded, model: claim})

    def without(self, model: str) -> "Account":
        """The model holds nothing any more. The same account where it held nothing."""
        if model not in self.loaded and model not in self.in_flight:
            return self
        return msgspec.structs.replace(
            self,
            loaded={name: claim for name, claim in self.loaded.items() if name != model},
            in_flight={name: claim for name, claim in self.in_flight.items() if name != model},
        )

    def by_kind(self) -> dict[str, int]:
        """Bytes for metrics and people; what is in flight is counted apart, whatever it will be."""
        claims = self.loaded.values()
        return {
            "anonymous": sum(claim.anon_bytes for claim in claims),
            "file_hot": sum(claim.hot_bytes for claim in claims),
            "file_cold": sum(claim.cold_bytes for claim in claims),
            "in_flight": sum(claim.need_bytes for claim in self.in_flight.values()),
            "spare": self.spare_bytes,
        }


def claim_of(plan: LoadPlan) -> Claim:
    """What a load by this plan will take.

    Of a file that is paged only what is locked must stay, and beside it the window through which the rest
    is read. Pages whose copies are used instead may go.
    """
    predicted = plan.predicted
    hot_bytes = predicted.file_bytes
    if plan.paged:
        window_bytes = WINDOW_BYTES if plan.mlock_bytes else 0
        hot_bytes = min(predicted.file_bytes, plan.mlock_bytes + window_bytes)
    replaced_bytes = sum(piece.length for piece in plan.replaced)
    return Claim(
        anon_bytes=predicted.anon_bytes,
        hot_bytes=hot_bytes,
        cold_bytes=predicted.file_bytes - hot_bytes + replaced_bytes,
    )


def measured_claim(plan: LoadPlan, anon_bytes: int | None) -> Claim:
    """What a model takes that has just become ready with so much anonymous memory (None: unknown).

    The buffers that it has not used yet are those of the plan. A little more than planned is not counted:
    models that were planned together must not drive each other out over that.
    """
    planned = claim_of(plan)
    if anon_bytes is None or plan.mlock_bytes:  # locked pages may be copies
        return planned
    excess_bytes = anon_bytes - plan.predicted.loaded_anon_bytes
    if 0 < excess_bytes <= INEXACT_SHARE * planned.need_bytes:
        return planned
    return msgspec.structs.replace(planned, anon_bytes=max(0, planned.anon_bytes + excess_bytes))


def budget_now(memory: MemoryFacts, settings: Memory, held_bytes: int) -> int:
    """What edged's models may hold at this moment, those that are loaded included.

    `held_bytes` is what their runners hold now as `hw.memory.held_bytes` counts it, anonymous and locked:
    file pages that they use are in what the kernel calls available already. So what other processes take is
    missing here, whatever they are.
    """
    return budget_of(without(memory, held_bytes), settings).total_bytes
