"""One configuration with the models that serve it: what a reload replaces as a whole."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from edged.config.schema import Config
from edged.errors import Unavailable, UnknownModel
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.planner import Planned
from edged.lifecycle.status import ModelStatus
from edged.policy.types import LoadPlan


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads one of these sees one configuration, whatever is reloaded meanwhile."""

    config: Config
    handles: Mapping[str, RunnerHandle] = {}
    unplanned: Mapping[str, str] = {}  # why there is no plan, for models without a handle
    short_of_memory: frozenset[str] = frozenset()  # those of them whose files are fine

    @property
    def plans(self) -> tuple[LoadPlan, ...]:
        """The plans in force, in the order of the configuration."""
        return tuple(self.handles[model].plan for model in self.config.models if model in self.handles)

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model's status, in the order of the configuration."""
        return tuple(self.status(model) for model in self.config.models)

    def status(self, model: str) -> ModelStatus:
        """One model's status. Raises UnknownModel."""
        self.check_known(model)
        handle = self.handles.get(model)
        if handle is not None:
            return handle.status()
        settings = self.config.models[model]
        return ModelStatus(
            model=model,
            state="failed",
            kind=None if settings.kind == "auto" else settings.kind,
            strategy="refused",
            load_at_start=settings.preload,
            reason=self.unplanned[model],
            given_up="memory" if model in self.short_of_memory else "file",
        )

    def handle(self, model: str) -> RunnerHandle:
        """The way to a model. Raises UnknownModel, or Unavailable where there is no plan for it."""
        self.check_known(model)
        handle = self.handles.get(model)
        if handle is None:
            raise Unavailable(f"model {model} cannot be loaded: {self.unplanned[model]}", 60.0)
        return handle

    def check_known(self, model: str) -> None:
        """Raises UnknownModel."""
        if model not in self.config.models:
            known = ", ".join(self.config.models) or "none"
            raise UnknownModel(f"model {model!r} is not configured; configured models: {known}")


def adopted(
    config: Config,
    planned: Planned | None,
    going_on: Mapping[str, RunnerHandle],
    made: Callable[[LoadPlan, Planned], RunnerHandle],
) -> Served:
    """What is served by plans: the models that go on, and for the others what `made` gives."""
    plans = {plan.model: plan for plan in planned.plans} if planned else {}
    handles, unplanned = {}, {}
    for model in config.models:
        plan = plans.get(model)
        if model in going_on:
            handles[model] = going_on[model]
        elif planned is None or plan is None or plan.strategy == "refused":
            why = planned.problems.get(model) if planned else None
            unplanned[model] = why or " ".join(plan.reasons if plan else ())
        else:
            handles[model] = made(plan, planned)
    short = frozenset(model for model in unplanned if model in plans)
    return Served(config=config, handles=handles, unplanned=unplanned, short_of_memory=short)


def places(models: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """A number for each model: the one it has already, else the lowest that is free."""
    models = list(models)
    found = {model: known[model] for model in models if model in known}
    free = iter(sorted(set(range(len(models))) - set(found.values())))
    return {model: found[model] if model in found else next(free) for model in models}
