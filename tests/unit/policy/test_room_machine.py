"""Never overcommitted and nobody stuck, whatever happens in between: admission on a model of the machine."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edged.config.schema import Bytes, Memory
from edged.policy.account import Account, Claim, budget_now
from edged.policy.evict import Candidate
from edged.policy.room import Scene, Wish, decide
from tests.unit.policy.memory_machine import MemoryMachine

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
_PINNED = "minilm"
_MODELS = st.sampled_from(sorted(_CLAIMS))


class _Others(msgspec.Struct, frozen=True):
    """Which of the other models are busy, and how likely each is asked for soon."""

    busy: frozenset[str] = frozenset()
    probability: float = 0.5


_AT_REST = _Others()
_OTHERS = st.builds(_Others, st.frozensets(_MODELS), st.floats(0, 1))


class Loads(RuleBasedStateMachine):
    """Loads wait in the order in which they came; runners, victims and others take their own time."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = MemoryMachine(total_bytes=1000, others_bytes=100)
        self.account = Account(budget_bytes=0)
        self.waiting: list[Wish] = []
        self.leaving: set[str] = set()
        self.least_spare_bytes = _RESERVE_BYTES  # less than the reserve once others have grown

    def inside(self) -> list[str]:
        """The models that hold memory."""
        return [*self.account.loaded, *self.account.in_flight]

    def scene(self, wish: Wish, others: _Others) -> Scene:
        """What surrounds a load at this moment."""
        held_bytes = self.machine.held_bytes(self.inside())
        budget_bytes = budget_now(self.machine.facts(), _MEMORY, held_bytes)
        self.account = msgspec.structs.replace(self.account, budget_bytes=budget_bytes)
        before = self.waiting[: self.waiting.index(wish)]
        return Scene(
            account=self.account,
            leaving=frozenset(self.leaving),
            pinned=[_PINNED] if _PINNED in self.inside() else [],
            candidates=[
                Candidate(
                    model=name,
                    frees_bytes=claim.need_bytes,
                    reload_s=claim.hot_bytes / 40,
                    use_probability=others.probability,
                    busy=name in others.busy,
                    pages_bytes=claim.hot_bytes,
                )
                for name, claim in self.account.loaded.items()
                if name not in self.leaving and name != _PINNED
            ],
            ahead_bytes=sum(other.claim.need_bytes for other in before),
        )

    @initialize(models=st.lists(_MODELS.filter(lambda model: model != "giant"), max_size=3, unique=True))
    def start(self, models: list[str]) -> None:
        """Some models are loaded at the start."""
        for model in models:
            self.ask(model, _AT_REST, is_urgent=True)
        self.calm_down()

    @rule(model=_MODELS, others=_OTHERS, is_urgent=st.booleans())
    def ask(self, model: str, others: _Others, *, is_urgent: bool) -> None:
        """A model is to be loaded: for a request, or at start, or again after its runner has ended."""
        if model not in [wish.model for wish in self.waiting]:
            self.waiting.append(Wish(model=model, claim=_CLAIMS[model], is_urgent=is_urgent))
            self._look(self.waiting[-1], others)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 9), others=_OTHERS)
    def look(self, pick: int, others: _Others) -> None:
        """One of those that wait sees whether it may begin."""
        self._look(self.waiting[pick % len(self.waiting)], others)

    def _look(self, wish: Wish, others: _Others) -> None:
        scene = self.scene(wish, others)
        decision = decide(wish, scene)
        assert not {_PINNED, *self.leaving} & set(decision.leave)
        if decision.verdict == "admitted":
            self.account = self.account.begin(wish.model, wish.claim)
            self.machine.start(wish.model, wish.claim)
            assert self.machine.spare_bytes >= _RESERVE_BYTES
        if decision.verdict == "refused":
            assert not wish.is_urgent or wish.claim.need_bytes > scene.most_bytes
        if decision.verdict == "waits":
            self.leaving.update(decision.leave)
        else:
            self.waiting.remove(wish)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 9))
    def give_up(self, pick: int) -> None:
        """Nobody wants it any more."""
        del self.waiting[pick % len(self.waiting)]

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
        """A runner crashes, or is unloaded because somebody asked for it."""
        self._reap(self.inside()[pick % len(self.inside())])

    @precondition(lambda self: self.leaving)
    @rule(pick=st.integers(0, 9))
    def leave(self, pick: int) -> None:
        """A victim's requests are done."""
        self._reap(sorted(self.leaving)[pick % len(self.leaving)])

    def _reap(self, model: str) -> None:
        self.machine.end(model)
        self.account = self.account.without(model)
        self.leaving.discard(model)

    @rule(share=st.floats(0, 0.5))
    def others_grow(self, share: float) -> None:
        """Another process takes what is available, pages of model files included."""
        self.machine.others_bytes += round(share * max(0, self.machine.available_bytes))
        self.least_spare_bytes = min(_RESERVE_BYTES, self.machine.spare_bytes)

    @rule(share=st.floats(0, 1))
    def others_shrink(self, share: float) -> None:
        """Another process gives memory back."""
        self.machine.others_bytes = round(share * self.machine.others_bytes)

    @rule()
    def calm_down(self) -> None:
        """Where nothing else happens, everybody who waits is admitted or told why not."""
        for _ in range(3 * len(self.waiting)):
            while self.account.in_flight:
                self.become_ready(0, 1.0)
            while self.leaving:
                self.leave(0)
            for wish in list(self.waiting):
                if wish.model in self.inside():
                    self._reap(wish.model)  # a runner of before, for whose end it waits
                self._look(wish, _AT_REST)
        assert not self.waiting

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


Loads.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_loads_never_overcommit_and_none_is_stuck = Loads.TestCase
