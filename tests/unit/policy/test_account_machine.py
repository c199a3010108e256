"""Never overcommitted, whatever happens in between: the account and eviction on a model of the machine."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edged.config.schema import Bytes, Memory
from edged.policy.account import Account, Claim, budget_now
from edged.policy.evict import Candidate, victims
from tests.unit.policy.memory_machine import MemoryMachine

_TOTAL_BYTES = 1000
_RESERVE_BYTES = 100
_MEMORY = Memory(reserve=Bytes(_RESERVE_BYTES))
_CLAIMS = {
    "minilm": Claim(anon_bytes=35, hot_bytes=25),
    "smollm2": Claim(anon_bytes=110, hot_bytes=98),
    "gemma": Claim(anon_bytes=150, hot_bytes=253, cold_bytes=20),
    "qwen": Claim(anon_bytes=140, hot_bytes=398),
    "paged": Claim(anon_bytes=300, hot_bytes=0, cold_bytes=2000),
    "giant": Claim(anon_bytes=500, hot_bytes=900),
}


class Loads(RuleBasedStateMachine):
    """Loads begin where the account has room; victims leave in their own time; others do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = MemoryMachine(_TOTAL_BYTES, others_bytes=100)
        self.account = Account(budget_bytes=0)
        self.leaving: set[str] = set()
        self.least_spare_bytes = _RESERVE_BYTES  # less than the reserve once others have grown

    def inside(self) -> list[str]:
        """The models that hold memory."""
        return [*self.account.loaded, *self.account.in_flight]

    @rule(
        model=st.sampled_from(sorted(_CLAIMS)),
        busy=st.sets(st.sampled_from(sorted(_CLAIMS))),
        probability=st.floats(0, 1),
    )
    def ask(self, model: str, busy: set[str], probability: float) -> None:
        """A request for a model: it loads, or makes others leave, or cannot be loaded now."""
        if model in self.inside():
            return
        held_bytes = self.machine.held_bytes(self.inside())
        budget_bytes = budget_now(self.machine.facts(), _MEMORY, held_bytes)
        self.account = msgspec.structs.replace(self.account, budget_bytes=budget_bytes)
        claim = _CLAIMS[model]
        lacking_bytes = claim.need_bytes - self.account.room_bytes
        if lacking_bytes <= 0:
            self.account = self.account.begin(model, claim)
            self.machine.start(model, claim)
            assert self.machine.spare_bytes >= _RESERVE_BYTES
            return
        candidates = [
            Candidate(
                model=name,
                frees_bytes=held.need_bytes,
                reload_s=held.hot_bytes / 40,
                use_probability=probability,
                busy=name in busy,
            )
            for name, held in self.account.loaded.items()
        ]
        chosen = victims(candidates, lacking_bytes)
        if chosen is None:
            others = self.account.in_flight.values()
            most_bytes = self.account.budget_bytes - sum(each.need_bytes for each in others)
            assert claim.need_bytes > most_bytes, "all of them together would have been enough"
            return
        after = self.account
        for victim in chosen:
            after = after.without(victim)
        assert after.room_bytes >= claim.need_bytes
        self.leaving.update(chosen)

    @precondition(lambda self: self.account.in_flight or self.account.loaded)
    @rule(pick=st.integers(0, 9), share=st.floats(0, 1))
    def take_memory(self, pick: int, share: float) -> None:
        """A runner fills some of its buffers."""
        self.machine.grow(self.inside()[pick % len(self.inside())], share)

    @precondition(lambda self: self.account.in_flight)
    @rule(pick=st.integers(0, 9), measured_share=st.floats(0.5, 1))
    def become_ready(self, pick: int, measured_share: float) -> None:
        """A load is done, and takes no more than was planned."""
        model = sorted(self.account.in_flight)[pick % len(self.account.in_flight)]
        claim = _CLAIMS[model]
        anon_bytes = max(self.machine.anon_bytes[model], round(measured_share * claim.anon_bytes))
        measured = msgspec.structs.replace(claim, anon_bytes=anon_bytes)
        self.account = self.account.settle(model, measured)
        self.machine.claims[model] = measured

    @precondition(lambda self: self.account.in_flight or self.account.loaded)
    @rule(pick=st.integers(0, 9))
    def end(self, pick: int) -> None:
        """A runner crashes, is unloaded because somebody asked for it, or leaves as a victim."""
        first = sorted(self.leaving & set(self.inside())) or self.inside()
        model = first[pick % len(first)]
        self.machine.end(model)
        self.account = self.account.without(model)
        self.leaving.discard(model)

    @rule(share=st.floats(0, 1))
    def others_grow(self, share: float) -> None:
        """Another process takes what is available, pages of model files included."""
        self.machine.others_bytes += round(share * max(0, self.machine.available_bytes))
        self.least_spare_bytes = min(_RESERVE_BYTES, self.machine.spare_bytes)

    @rule(share=st.floats(0, 1))
    def others_shrink(self, share: float) -> None:
        """Another process gives memory back."""
        self.machine.others_bytes = round(share * self.machine.others_bytes)

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        """Only others can take the reserve and what was promised; nothing that edged does adds to it."""
        assert self.machine.spare_bytes >= self.least_spare_bytes
        self.least_spare_bytes = min(_RESERVE_BYTES, self.machine.spare_bytes)

    @invariant()
    def the_account_knows_who_has_what(self) -> None:
        """No runner is forgotten, and none is counted that is gone."""
        assert sorted(self.inside()) == sorted(self.machine.claims)
        assert self.account.taken_bytes == sum(each.need_bytes for each in self.machine.claims.values())
        kinds = self.account.by_kind()
        assert kinds["anonymous"] + kinds["file_hot"] + kinds["in_flight"] == self.account.taken_bytes


Loads.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_loads_never_overcommit = Loads.TestCase
