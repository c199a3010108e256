"""Makes the handles of models, with all that they share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edged.config.schema import Config
from edged.hw.residency import cached_bytes
from edged.lifecycle.admission import Admission
from edged.lifecycle.feed import Feed
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.idle import Idle
from edged.lifecycle.model_file import check_file
from edged.lifecycle.planner import Planned, next_fitting, next_smaller
from edged.lifecycle.runs import Means
from edged.lifecycle.served import places
from edged.lifecycle.standby import Standby
from edged.lifecycle.supervision import Observer, Supervision, supervision_of
from edged.policy.types import LoadPlan

_LOOK_S = 0.5  # at the page cache


@dataclass(kw_only=True)
class Maker:
    """Descriptors stay their owner's."""

    observer: Observer
    admission: Admission
    feed: Feed
    idle: Idle
    standby: Standby
    lease_fd: int
    board_fd: int
    _places: dict[str, int] = field(default_factory=dict)  # on the board

    def supervision(self, config: Config, model: str) -> Supervision:
        """How a model is looked after."""
        self._places = places(config.models, self._places)
        return supervision_of(config, model, self.lease_fd, self.board_fd, self._places[model])

    def handle(
        self,
        config: Config,
        plan: LoadPlan,
        planned: Planned,
        wait: Callable[[], None],
    ) -> RunnerHandle:
        """A new way to a model. `wait` returns when it may be seen whether there is room for a load."""
        means = Means(
            self.admission,
            check_file=check_file,
            take_spare=partial(self.standby.take_for, plan),
            wait=wait,
            publish=self.feed.publish,
            smaller=partial(next_smaller, planned),
            fitting=partial(next_fitting, planned),
            cached=lambda path: cached_bytes(path, time.monotonic() + _LOOK_S),
        )
        handle = RunnerHandle(plan, self.supervision(config, plan.model), self.observer, means)
        handle.residence.when_at_rest = self.idle.look
        return handle
