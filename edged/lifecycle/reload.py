"""A configuration that is read again, applied to models that serve: what did not change goes on untouched."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from edged.config.difference import Difference, difference
from edged.config.schema import Config
from edged.errors import ConfigError, EdgedError, Unavailable
from edged.hw.snapshot import MemoryFacts
from edged.lifecycle.planner import Planned
from edged.lifecycle.pool import Pool
from edged.lifecycle.prefixes import remove_unused
from edged.lifecycle.pulled import Pulled
from edged.policy.replan import as_loaded, works_alike

Plan = Callable[[Config, MemoryFacts], Planned]


class _Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: models that go on with their runners, and the plans of all others."""

    kept: frozenset[str]
    planned: Planned | None = None
    to_load: tuple[str, ...] = ()


@dataclass
class Origins:
    """What makes a configuration: a file, as it was put in force last, and what clients have pulled."""

    written: Config
    read: Callable[[], Config]  # the file as it is now; raises ConfigError
    pulled: Pulled


class Reload:
    """Applies changes to what is served. For any thread."""

    def __init__(
        self, pool: Pool, origins: Origins, plan: Plan, settle: Callable[[Config], tuple[str, ...]]
    ) -> None:
        """`settle` puts in force what lies outside the pool and returns what is to be said about that, or
        raises ConfigError and changes nothing."""
        self._pool = pool
        self._origins = origins
        self._plan = plan
        self._settle = settle
        self._one_at_a_time = threading.Lock()

    def run(self) -> str:
        """Apply the file as it is now; returns what has changed, when what is to be loaded answers.

        Raises ConfigError when nothing was changed, Unavailable when edged is shutting down, and EdgedError
        when all is in force, but a model does not answer.
        """
        with self._one_at_a_time:
            written = self._origins.read()
            return self._apply(written, written.models.keys() - self._origins.pulled.models())

    def serve_pulled(self) -> None:
        """Serve what clients have pulled since, and no more what they have deleted. All else stays as it is.

        A model that does not fit is shown so, as at start. Raises as `run` does.
        """
        with self._one_at_a_time:
            self._apply(self._origins.written, ())

    def _apply(self, written: Config, must_fit: Collection[str]) -> str:
        old, new = self._pool.config, self._origins.pulled.added_to(written)
        found = difference(old, new)
        if found.fixed:
            raise ConfigError([_restart(path) for path in found.fixed])
        intent = self._intent(new, found, must_fit)
        found = msgspec.structs.replace(found, changes=(*found.changes, *self._settle(new)))
        self._origins.written = written
        handover = self._pool.apply(new, intent.planned, intent.kept)
        handover.finish(new.server.drain_timeout)
        remove_unused(new)
        self._load(intent.to_load, new.loading.load_timeout)
        return found.text

    def _intent(self, new: Config, found: Difference, must_fit: Collection[str]) -> _Intent:
        """Decide; nothing is changed yet. Raises ConfigError for a model that could not be loaded."""
        plans = {plan.model: plan for plan in self._pool.plans}
        loaded = {each.model for each in self._pool.statuses() if each.state in ("ready", "loading")}
        unplanned = set(found.replaced) | (
            (set(plans) if found.planning else set(found.preloaded)) - loaded  # they have no runner to lose
        )
        kept = [model for model in new.models if model in plans and model not in unplanned]
        if len(kept) == len(new.models) and not found.memory:
            return _Intent(kept=frozenset(kept))
        fixed = {} if found.memory else {model: plans[model] for model in kept}
        planned = self._plan(as_loaded(new, fixed), self._pool.freed_memory())
        anew = {plan.model: plan for plan in planned.plans}
        if found.memory:
            kept = [model for model in kept if model in anew and works_alike(plans[model], anew[model])]
        others = [model for model in new.models if model not in kept]
        asked = {*plans, *found.added, *found.replaced}  # the rest had no plan before, and nobody touched it
        _check_planned(planned, [model for model in others if model in asked and model in must_fit])
        at_once = [
            plan.model
            for plan in planned.plans
            if plan.load_at_start or (plan.model in loaded and not plan.makes_room)
        ]
        to_load = [model for model in others if model in at_once]
        return _Intent(kept=frozenset(kept), planned=planned, to_load=tuple(to_load))

    def _load(self, models: Sequence[str], load_timeout_s: float) -> None:
        self._pool.load_all(models, "reload")
        failures = []
        for model in models:
            try:
                self._pool.ensure_ready(model, load_timeout_s)
            except Unavailable as error:
                failures.append(f"the new configuration is in force, but {error}")
        if failures:
            raise EdgedError("\n".join(failures))


def _restart(path: str) -> str:
    return f"{path}: cannot change while edged runs, so nothing was changed; restart it to apply all changes"


def _check_planned(planned: Planned, models: Sequence[str]) -> None:
    """Raises ConfigError for models without a plan, or with one that says that they do not fit."""
    plans = {plan.model: plan for plan in planned.plans}
    problems = []
    for model in models:
        plan = plans.get(model)
        if plan is None or plan.strategy == "refused":
            why = planned.problems.get(model) or " ".join(plan.reasons if plan else ())
            problems.append(f"models.{model}: {why}; nothing was changed")
    if problems:
        raise ConfigError(problems)
