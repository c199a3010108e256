"""edged that evicts by count: `python -m tests.bench.by_count N run …` keeps at most N models loaded.

Of more, the one leaves that was not asked for the longest, as in servers that count; nothing is asked about
what it frees and what bringing it back takes. All else is edged as it is.
"""

import sys
from collections.abc import Sequence
from functools import partial
from unittest import mock

from edged.cli.main import main
from edged.lifecycle import admission
from edged.policy import room
from edged.policy.demand import Demand
from edged.policy.evict import Candidate
from edged.policy.room import Decision, Scene, Wish


def least_recent(candidates: Sequence[Candidate], _lacking_bytes: int) -> tuple[str, ...] | None:
    """The model that was not asked for the longest, where `use_probability` is when that was."""
    if not candidates:
        return None
    return (min(candidates, key=lambda each: each.use_probability).model,)


def decide(n_most: int, wish: Wish, scene: Scene) -> Decision:
    """As `edged.policy.room.decide`, with a limit on the number of models."""
    inside = {*scene.account.loaded, *scene.account.in_flight}
    if wish.model in inside or len(inside) < n_most:
        return room.decide(wish, scene)
    if len(inside - set(scene.leaving)) < n_most:
        return Decision("waits")
    return Decision("waits", least_recent(scene.candidates, 0) or ())


def _last_use_s(demand: Demand, _now_s: float, _horizon_s: float) -> float:
    return demand.last_s or 0.0


if __name__ == "__main__":
    count = int(sys.argv.pop(1))
    with (
        mock.patch.object(room, "victims", least_recent),
        mock.patch.object(admission, "use_probability", _last_use_s),
        mock.patch.object(admission, "decide", partial(decide, count)),
    ):
        main()
