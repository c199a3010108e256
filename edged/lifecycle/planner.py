"""From a configuration to plans: the effects around the pure `plan` (headers, probe)."""

import logging
from collections.abc import Callable, Mapping

import msgspec

from edged.config.paths import model_path
from edged.config.schema import Config
from edged.errors import ModelFileError
from edged.gguf.footprint import ContextSettings, footprint
from edged.gguf.header import read_header
from edged.gguf.layout import prefetch_ranges
from edged.hw.probe import probe
from edged.hw.residency import Run
from edged.hw.snapshot import HardwareSnapshot, MemoryFacts
from edged.lifecycle.process import lazy_map_library
from edged.lifecycle.repack_gain import llama_build
from edged.lifecycle.spares import Ahead
from edged.policy.plan import plan
from edged.policy.repacking import not_measured
from edged.policy.settings import kind_of
from edged.policy.shrinking import Facts, fitting, smaller
from edged.policy.timing import SPAWN_S
from edged.policy.types import LoadPlan, Measured, ModelInput, PlanSettings
from edged.store import receipt

log = logging.getLogger(__name__)

_LAZY_PROBE_BYTES = 8 << 20
_HANDOVER_S = 0.01  # to a runner that has imported everything
_SMALLEST = ContextSettings(n_ctx=1, n_seq_max=1, n_ubatch=1)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What planning gave: a plan for every model whose file can be read, a reason for every other one.

    `inputs` and `settings` are what it was made from, for whoever plans again on other facts.
    """

    snapshot: HardwareSnapshot
    plans: tuple[LoadPlan, ...]
    problems: Mapping[str, str]
    repack_gains_wanted: Mapping[str, str] = {}  # types of weights to measure, by the keys of their gains
    inputs: tuple[ModelInput, ...] = ()
    settings: PlanSettings = PlanSettings()
    measured: Measured = Measured()


def plan_models(
    config: Config, measured: Measured, ahead: Ahead | None = None, memory: MemoryFacts | None = None
) -> Planned:
    """Measure this machine and plan every configured model; a file that cannot be read is a problem.

    `ahead`: the runners that load at start have been started, so their imports run while this measures.
    `memory`: facts to plan on instead of those of this moment.
    """
    inputs, problems = _inputs(config)
    wanted = {model.path: _wanted(model) for model in inputs}
    snapshot = probe(
        [str(model_path(config, model)) for model in config.models],
        wanted,
        memory=ahead.memory if ahead else memory,
    )
    if ahead is not None:
        spawn_s = SPAWN_S if measured.spawn_s is None else measured.spawn_s
        measured = msgspec.structs.replace(measured, spawn_s=max(_HANDOVER_S, spawn_s - snapshot.probe_s))
    settings = PlanSettings(
        memory=config.memory,
        loading=config.loading,
        lazy_available=lazy_map_library() is not None,
        llama_build=llama_build(),
    )
    return Planned(
        snapshot=snapshot,
        plans=plan(snapshot, inputs, settings, measured),
        problems=problems,
        repack_gains_wanted=not_measured(inputs, snapshot.cpu, settings.llama_build, measured),
        inputs=tuple(inputs),
        settings=settings,
        measured=measured,
    )


def next_smaller(planned: Planned, plan: LoadPlan) -> LoadPlan | None:
    """The plan for a model whose runner the kernel has ended for memory; None: it cannot take less."""
    facts = _facts_of(planned, plan)
    if facts is None:
        return None
    found = smaller(plan, facts)
    fields = {"EVENT": "plan_shrunk", "MODEL": plan.model}
    if found is None:
        log.warning(
            "%s: the kernel ended its runner for memory, and it cannot take less", plan.model, extra=fields
        )
    else:
        log.warning(
            "%s: after the kernel ended its runner for memory: %s", *(plan.model, found.reasons[0]),
            extra={**fields, "STRATEGY": found.strategy},
        )  # fmt: skip
    return found


def next_fitting(planned: Planned, plan: LoadPlan, room_bytes: int) -> LoadPlan | None:
    """The plan for a model that can have so much memory now; None: it cannot do with that."""
    facts = _facts_of(planned, plan)
    found = fitting(plan, room_bytes, facts) if facts is not None else None
    if found is not None:
        log.warning(
            "%s: %s", *(plan.model, found.reasons[0]),
            extra={"EVENT": "plan_shrunk", "MODEL": plan.model, "STRATEGY": found.strategy},
        )  # fmt: skip
    return found


def _facts_of(planned: Planned, plan: LoadPlan) -> Facts | None:
    """What a model was planned by; None where it was not by `planned`."""
    model = next((each for each in planned.inputs if each.id == plan.model), None)
    return None if model is None else Facts(planned.snapshot, model, planned.settings, planned.measured)


def planner(
    config: Config, measured: Callable[[], Measured], planned_on: Callable[[HardwareSnapshot], None]
) -> Callable[[Ahead | None], Planned]:
    """What plans by what has been learnt until then, and tells on which facts."""

    def plan_anew(ahead: Ahead | None) -> Planned:
        planned = plan_models(config, measured(), ahead)
        planned_on(planned.snapshot)
        _tell(planned)
        return planned

    return plan_anew


def replanner(
    measured: Callable[[], Measured], planned_on: Callable[[HardwareSnapshot], None]
) -> Callable[[Config, MemoryFacts], Planned]:
    """The same for any configuration, while models are loaded."""

    def plan_anew(config: Config, memory: MemoryFacts) -> Planned:
        planned = plan_models(config, measured(), memory=memory)
        planned_on(planned.snapshot)
        _tell(planned)
        return planned

    return plan_anew


def _tell(planned: Planned) -> None:
    """What an operator should know of the plans: who is not served, and who gets less than it could use."""
    for model, why in planned.problems.items():
        log.error("%s: cannot be planned: %s", model, why, extra={"EVENT": "model_refused", "MODEL": model})
    for each in planned.plans:
        fields = {"MODEL": each.model, "STRATEGY": each.strategy}
        if each.strategy == "refused":
            why = " ".join(each.reasons)
            log.error("%s: refused: %s", each.model, why, extra={"EVENT": "model_refused", **fields})
        elif each.shrunk:
            what = ", ".join(each.shrunk)
            log.warning("%s: made to fit: %s", each.model, what, extra={"EVENT": "plan_shrunk", **fields})


def _wanted(model: ModelInput) -> list[Run]:
    """The parts of a file that its load reads anyway, by which its storage may be measured."""
    if model.model.strategy == "lazy":
        return [Run(0, _LAZY_PROBE_BYTES)]  # nothing is read ahead of it, and little by the probe
    return [Run(span.offset, span.length) for span in prefetch_ranges(model.header, kind_of(model))]


def _inputs(config: Config) -> tuple[list[ModelInput], dict[str, str]]:
    inputs, problems = [], {}
    for model, settings in config.models.items():
        path = model_path(config, model)
        try:
            header = read_header(path)
            footprint(header, _SMALLEST)  # a file that makes no sense must not spoil the others' plans
            known = receipt.read(path)
            reason = known.weights_reason if known else None
            inputs.append(ModelInput(id=model, model=settings, header=header, weights_reason=reason))
        except ModelFileError as error:
            missing = "" if path.exists() else f"; fetch it with `edged pull {model}`"
            problems[model] = f"{error}{missing}"
    return inputs, problems
