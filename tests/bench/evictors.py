"""Who leaves when a model has to come: edged's policy, those of others, and one that knows the future."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from edged.policy.demand import SOON_S, Demand, after, use_probability
from edged.policy.evict import Candidate, victims
from tests.bench.box import Box, Policy, Request, lacking_bytes
from tests.bench.week import Session

KEEP_ALIVE_S = 300.0  # ollama's default
MODELS_MAX = 4  # llama-server's default in router mode
_NEVER_S = 1e12

Evictor = Callable[[Sequence[Session]], Policy]


def edged(_sessions: Sequence[Session]) -> Policy:
    """What the daemon does: least expected seconds lost per byte freed."""
    demands: dict[str, Demand] = {}

    def asked(_box: Box, request: Request) -> None:
        demands[request.model] = after(demands.get(request.model, Demand()), request.at_s)

    def candidate(box: Box, model: str, now_s: float) -> Candidate:
        found = box.hardware.models[model]
        return Candidate(
            model=model,
            frees_bytes=found.claim.need_bytes,
            reload_s=found.load_s(0, box.hardware.bytes_per_s),
            use_probability=use_probability(demands[model], now_s, SOON_S),
            busy=box.busy(model, now_s),
            pages_bytes=found.read_bytes,
            warm_reload_s=found.start_s,
        )

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        candidates = [candidate(box, each, now_s) for each in box.loaded]
        return victims(candidates, lacking_bytes(box, model)) or ()

    return Policy(name="edged", leave=leave, asked=asked)


def lru(_sessions: Sequence[Session]) -> Policy:
    """Who was not asked for longest, of those that are idle (LocalAI)."""

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        return _until_it_fits(box, model, _by_last_use(box, now_s))

    return Policy(name="LRU", leave=leave)


def lfu(_sessions: Sequence[Session]) -> Policy:
    """Who was asked least often since the start, of those that are idle."""
    uses: Counter[str] = Counter()

    def asked(_box: Box, request: Request) -> None:
        uses[request.model] += 1

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        order = sorted(box.loaded, key=lambda each: (box.busy(each, now_s), uses[each], each))
        return _until_it_fits(box, model, order)

    return Policy(name="LFU", leave=leave, asked=asked)


def keep_alive(_sessions: Sequence[Session]) -> Policy:
    """Idle for five minutes: unloaded. Else the shortest keep-alive first, of equal ones by name (ollama)."""

    def asked(box: Box, request: Request) -> None:
        expired = [
            model
            for model, loaded in box.loaded.items()
            if loaded.busy_until_s + KEEP_ALIVE_S <= request.at_s
        ]
        for model in expired:
            box.unload(model)
        box.shrink_cache()

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        return _until_it_fits(box, model, sorted(box.loaded, key=lambda each: (box.busy(each, now_s), each)))

    return Policy(name="keep-alive", leave=leave, asked=asked)


def count(_sessions: Sequence[Session]) -> Policy:
    """No more than so many models, the one that was not asked for longest leaves (llama-server's router).

    It asks nothing about memory. Here it does, in the same order: elsewhere the kernel would end a model.
    """

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        order = _by_last_use(box, now_s)
        n_leaving = max(0, len(order) + 1 - MODELS_MAX)
        return order[: max(n_leaving, len(_until_it_fits(box, model, order)))]

    return Policy(name="count", leave=leave)


def foresight(sessions: Sequence[Session]) -> Policy:
    """Who is asked for farthest in the future, by seconds and bytes: Belady's rule with costs.

    A yardstick, not a bound: with sizes and costs that rule is not the best one, and the times that it knows
    are those at which requests would come if no load took any time.
    """
    coming = _times(sessions)
    n_past: Counter[str] = Counter()

    def asked(_box: Box, request: Request) -> None:
        n_past[request.model] += 1

    def worth(box: Box, model: str, now_s: float) -> tuple[bool, float, str]:
        times_s, found = coming[model], box.hardware.models[model]
        next_s = times_s[n_past[model]] if n_past[model] < len(times_s) else _NEVER_S
        lost_s = found.load_s(0, box.hardware.bytes_per_s) / max(1.0, next_s - now_s)
        return box.busy(model, now_s), lost_s / found.claim.need_bytes, model

    def leave(box: Box, model: str, now_s: float) -> Sequence[str]:
        return _until_it_fits(box, model, sorted(box.loaded, key=lambda each: worth(box, each, now_s)))

    return Policy(name="foresight", leave=leave, asked=asked)


RIVALS: tuple[Evictor, ...] = (lru, lfu, keep_alive, count)


def _by_last_use(box: Box, now_s: float) -> list[str]:
    return sorted(box.loaded, key=lambda each: (box.busy(each, now_s), box.loaded[each].last_s, each))


def _until_it_fits(box: Box, model: str, order: Iterable[str]) -> Sequence[str]:
    """The first of them that together make room."""
    left_bytes = lacking_bytes(box, model)
    leaving = []
    for each in order:
        if left_bytes <= 0:
            break
        leaving.append(each)
        left_bytes -= box.hardware.models[each].claim.need_bytes
    return leaving


def _times(sessions: Iterable[Session]) -> dict[str, list[float]]:
    """When each model is asked for, if every answer comes as soon as its work allows."""
    found: dict[str, list[float]] = {}
    for session in sessions:
        at_s = session.at_s
        for turn in session.turns:
            at_s += turn.pause_s
            found.setdefault(turn.model, []).append(at_s)
            at_s += turn.work_s
    return {model: sorted(times_s) for model, times_s in found.items()}
