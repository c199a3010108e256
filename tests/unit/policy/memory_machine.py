"""A machine's memory in numbers: what runners have really taken of what they may, and other processes."""

from collections.abc import Iterable

from edged.hw.snapshot import MemoryFacts
from edged.policy.account import Claim


class MemoryMachine:
    """Counts as the kernel does: pages of files are available, anonymous ones are not."""

    def __init__(self, total_bytes: int, others_bytes: int = 0) -> None:
        self.total_bytes = total_bytes
        self.others_bytes = others_bytes
        self.claims: dict[str, Claim] = {}  # what each runner will have taken in the end
        self.anon_bytes: dict[str, int] = {}  # what it has taken until now

    @property
    def available_bytes(self) -> int:
        """What anybody may still take."""
        return self.total_bytes - self.others_bytes - sum(self.anon_bytes.values())

    @property
    def spare_bytes(self) -> int:
        """What would be left if every runner took all that it may, and kept its file in memory."""
        promised_bytes = sum(claim.need_bytes for claim in self.claims.values())
        return self.total_bytes - self.others_bytes - promised_bytes

    def facts(self) -> MemoryFacts:
        """As `hw.memory.memory_facts` would find them."""
        return MemoryFacts(total_bytes=self.total_bytes, available_bytes=self.available_bytes)

    def held_bytes(self, models: Iterable[str]) -> int:
        """As `hw.memory.held_bytes` would count it for the processes of these models."""
        return sum(self.anon_bytes.get(model, 0) for model in models)

    def start(self, model: str, claim: Claim) -> None:
        """A runner is spawned; it has taken nothing yet."""
        self.claims[model] = claim
        self.anon_bytes[model] = 0

    def grow(self, model: str, share: float) -> None:
        """A runner takes so much of what it may, and never gives any back."""
        may_bytes = round(share * self.claims[model].anon_bytes)
        self.anon_bytes[model] = max(self.anon_bytes[model], may_bytes)

    def end(self, model: str) -> None:
        """A runner's process has been reaped."""
        del self.claims[model], self.anon_bytes[model]
