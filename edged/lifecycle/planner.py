"""From a configuration to plans: the effects around the pure `plan` (headers, probe)."""

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
from edged.hw.snapshot import HardwareSnapshot
from edged.lifecycle.process import lazy_map_library
from edged.lifecycle.repack_gain import llama_build
from edged.lifecycle.spares import Ahead
from edged.policy.plan import plan
from edged.policy.repacking import not_measured
from edged.policy.settings import kind_of
from edged.policy.timing import SPAWN_S
from edged.policy.types import LoadPlan, Measured, ModelInput, PlanSettings
from edged.store import receipt

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


def plan_models(config: Config, measured: Measured, ahead: Ahead | None = None) -> Planned:
    """Measure this machine and plan every configured model; a file that cannot be read is a problem.

    `ahead`: the runners that load at start have been started, so their imports run while this measures.
    """
    inputs, problems = _inputs(config)
    wanted = {model.path: _wanted(model) for model in inputs}
    snapshot = probe(
        [str(model_path(config, model)) for model in config.models],
        wanted,
        memory=ahead.memory if ahead else None,
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
    )


def planner(
    config: Config, measured: Callable[[], Measured], planned_on: Callable[[HardwareSnapshot], None]
) -> Callable[[Ahead | None], Planned]:
    """What plans by what has been learnt until then, and tells on which facts."""

    def plan_anew(ahead: Ahead | None) -> Planned:
        planned = plan_models(config, measured(), ahead)
        planned_on(planned.snapshot)
        return planned

    return plan_anew


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
