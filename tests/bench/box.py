"""A small machine in numbers: models in its memory, pages of unloaded ones in its page cache, one storage."""

import heapq
from collections.abc import Callable, Mapping, Sequence

import msgspec

from edged.policy.account import Account, Claim
from tests.bench.week import Session

MIB = 1 << 20


class Request(msgspec.Struct, frozen=True):
    """Somebody asks a model for what takes `work_s` once it is there."""

    at_s: float
    model: str
    work_s: float


class SimModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what its load reads, what it then holds, and what starting it takes beside the reading."""

    file_bytes: int
    anon_bytes: int
    start_s: float
    read_bytes: int

    @property
    def claim(self) -> Claim:
        """Its file in the page cache counts as its own."""
        return Claim(anon_bytes=self.anon_bytes, hot_bytes=self.file_bytes)

    def load_s(self, cached_bytes: int, bytes_per_s: float) -> float:
        """A load's seconds: the reader runs beside everything else."""
        return max(self.start_s, max(0, self.read_bytes - cached_bytes) / bytes_per_s)


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What models may take, what stays free beside them (page cache in the meantime), and the storage."""

    name: str
    budget_bytes: int
    reserve_bytes: int
    bytes_per_s: float
    models: Mapping[str, SimModel]


class Outcome(msgspec.Struct, kw_only=True):
    """What a trace cost with one policy."""

    n_requests: int = 0
    n_hits: int = 0
    waited_s: float = 0.0
    read_bytes: int = 0
    n_loads: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of requests that waited for no load."""
        return self.n_hits / self.n_requests

    def plus(self, other: "Outcome") -> "Outcome":
        """Both together."""
        return Outcome(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


class Loaded(msgspec.Struct, kw_only=True):
    """One model in memory: when it answers, until when it is at work, and when it was last asked."""

    ready_s: float
    busy_until_s: float
    last_s: float


class Box:
    """The state of the machine while a trace runs. Policies read it; only `run` changes it."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.account = Account(budget_bytes=hardware.budget_bytes)
        self.loaded: dict[str, Loaded] = {}
        self.cached: dict[str, int] = {}  # pages of models that are not loaded, the latest last
        self.outcome = Outcome()
        self._leaving: list[tuple[float, int]] = []  # until when models that were busy keep their bytes
        self._storage_free_s = 0.0

    @property
    def cache_bytes(self) -> int:
        """The page cache that unloaded models' pages may have."""
        return self.account.room_bytes + self.hardware.reserve_bytes

    def busy(self, model: str, now_s: float) -> bool:
        """Whether a loaded model has requests."""
        return self.loaded[model].busy_until_s > now_s

    def serve(self, request: Request) -> float:
        """Answer by a model that is there, or will be; returns when that is done."""
        there = self.loaded[request.model]
        wait_s = max(0.0, there.ready_s - request.at_s)
        answered_s = request.at_s + wait_s + request.work_s
        there.busy_until_s = max(there.busy_until_s, answered_s)
        there.last_s = request.at_s
        self.outcome.n_requests += 1
        self.outcome.n_hits += wait_s == 0.0
        self.outcome.waited_s += wait_s
        return answered_s

    def unload(self, model: str) -> None:
        """Take no more requests: memory is free once it is idle, pages of its file stay if there is room."""
        claim = self.account.loaded[model]
        self._leaving.append((self.loaded.pop(model).busy_until_s, claim.need_bytes))
        self.account = self.account.without(model)
        self.cached[model] = self.hardware.models[model].read_bytes

    def load(self, model: str, now_s: float) -> None:
        """Load as soon as enough of the memory that was given up is really free."""
        found = self.hardware.models[model]
        self.account = self.account.settle(model, found.claim)
        assert self.account.room_bytes >= 0, f"{model} was loaded into memory that is not there"
        begin_s = self._begin_s(now_s)
        uncached_bytes = found.read_bytes - self.cached.pop(model, 0)
        read_s = uncached_bytes / self.hardware.bytes_per_s
        read_end_s = max(begin_s, self._storage_free_s) + read_s if uncached_bytes else begin_s
        self._storage_free_s = max(self._storage_free_s, read_end_s)
        ready_s = max(begin_s + found.start_s, read_end_s)
        self.loaded[model] = Loaded(ready_s=ready_s, busy_until_s=ready_s, last_s=now_s)
        self.outcome.read_bytes += uncached_bytes
        self.outcome.n_loads += 1

    def _begin_s(self, now_s: float) -> float:
        """When those that are still leaving hold no more than is left."""
        self._leaving = sorted(each for each in self._leaving if each[0] > now_s)
        held_bytes = sum(n_bytes for _, n_bytes in self._leaving)
        begin_s = now_s
        for idle_s, n_bytes in self._leaving:
            if held_bytes <= self.account.room_bytes:
                break
            begin_s = idle_s
            held_bytes -= n_bytes
        return begin_s

    def shrink_cache(self) -> None:
        """What was cached longest ago goes first."""
        over_bytes = sum(self.cached.values()) - self.cache_bytes
        for model in list(self.cached):
            if over_bytes <= 0:
                return
            dropped_bytes = min(self.cached[model], over_bytes)
            over_bytes -= dropped_bytes
            self.cached[model] -= dropped_bytes
            if not self.cached[model]:
                del self.cached[model]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Who leaves when a model has to come (box, model, now), and what else it does at each request."""

    name: str
    leave: Callable[[Box, str, float], Sequence[str]]
    asked: Callable[[Box, Request], None] = lambda _box, _request: None


def run(policy: Policy, hardware: Hardware, sessions: Sequence[Session]) -> Outcome:
    """A whole trace with one policy, from an empty machine."""
    box = Box(hardware)
    waiting = [(session.at_s, number, 0) for number, session in enumerate(sessions)]  # sorted, so a heap
    while waiting:
        at_s, number, index = heapq.heappop(waiting)
        turns = sessions[number].turns
        answered_s = _ask(box, policy, Request(at_s, turns[index].model, turns[index].work_s))
        if index + 1 < len(turns):
            heapq.heappush(waiting, (answered_s + turns[index + 1].pause_s, number, index + 1))
    return box.outcome


def _ask(box: Box, policy: Policy, request: Request) -> float:
    """Serve one request, loading its model first where it is not there; returns when it is answered."""
    policy.asked(box, request)
    if request.model not in box.loaded:
        for leaving in policy.leave(box, request.model, request.at_s):
            box.unload(leaving)
        box.load(request.model, request.at_s)
        box.shrink_cache()
    return box.serve(request)


def lacking_bytes(box: Box, model: str) -> int:
    """What must be freed before the model can be loaded."""
    return box.hardware.models[model].claim.need_bytes - box.account.room_bytes
