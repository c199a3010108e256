"""What the CPU's settings and the build of llama.cpp do to a cold start. Pure: facts in, a finding out."""

import shlex
from collections.abc import Sequence

from edged.doctor.facts import Finding, Frequency, LlamaBuild
from edged.hw.snapshot import CpuFacts
from edged.policy.types import LoadPlan

_GOOD_GOVERNORS = ("schedutil", "performance")
# With these drivers the hardware chooses the clock by load, whatever the governor is called.
_SELF_DRIVEN = ("intel_pstate", "amd-pstate", "amd-pstate-epp")
# What /proc/cpuinfo calls them: what ggml's kernels for them are called in llama_print_system_info.
_FEATURES = {
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "neon": "NEON",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}


def governor(frequency: Frequency) -> Finding | None:
    """A clock that is fixed low or follows the load late; the kernel of a virtual machine chooses none."""
    chosen = frequency.governor
    if chosen is None or chosen in _GOOD_GOVERNORS or frequency.driver in _SELF_DRIVEN:
        return None
    better = next((name for name in _GOOD_GOVERNORS if name in frequency.available), None)
    return Finding(
        check="governor",
        level="problem",
        what=f"the governor {chosen} chooses the CPU's clock: it follows a burst of work late or never",
        cost="unknown: the clock while a model loads was not measured",
        fix=()
        if better is None
        else (f"echo {better} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",),
    )


def native_build(cpu: CpuFacts, build: LlamaBuild | None, python: str) -> Finding | None:
    """llama.cpp without code for instructions that this CPU has, as in a wheel made for any machine."""
    if build is None:
        return Finding(
            check="native_build",
            level="problem",
            what="llama-cpp-python cannot be imported, so no model can be loaded",
            cost="every model",
            fix=("./install.sh run", f"{shlex.quote(python)} -c 'import llama_cpp'  # says why"),
        )
    if not cpu.instruction_sets:
        return Finding(
            check="native_build",
            level="unknown",
            what="which instruction sets this CPU has is not known",
            cost="unknown",
        )
    wanted = dict.fromkeys(_FEATURES[name] for name in cpu.instruction_sets if name in _FEATURES)
    missing = [name for name in wanted if name not in build.features]
    if not missing:
        return None
    return Finding(
        check="native_build",
        level="problem",
        what=f"llama-cpp-python {build.version} was built without {', '.join(missing)}, which this CPU has",
        cost="unknown: slower prompts and warm-ups by a share that was not measured",
        fix=(
            f"CMAKE_ARGS=-DGGML_NATIVE=ON {shlex.quote(python)} -m pip install --force-reinstall --no-deps"
            f" --no-cache-dir --no-binary llama-cpp-python llama-cpp-python=={build.version}",
        ),
    )


def threads(plans: Sequence[LoadPlan], cpu: CpuFacts) -> Finding | None:
    """Models that compute with more threads than there are cores for them."""
    usable = cpu.usable_cores
    if usable is None:
        return None
    over = [plan for plan in plans if plan.n_threads > usable]
    if not over:
        return None
    why = f"a quota of {cpu.quota_cores:.2f} cores" if cpu.quota_cores is not None else "the cores it may use"
    asked = ", ".join(f"{plan.model} asks for {plan.n_threads}" for plan in over)
    return Finding(
        check="threads",
        level="problem",
        what=f"{asked} threads where {usable} can run at once, by {why}: threads wait for each other at each"
        " operation",
        cost="unknown: not measured here; computing with more threads than cores is slower than with one",
        fix=(f"edged run {' '.join(f'--set models.{plan.model}.n_threads=auto' for plan in over)}",),
    )


def features(system_info: str) -> frozenset[str]:
    """What is on in `CPU : SSE3 = 1 | AVX = 1 | … |`."""
    found = set()
    for part in system_info.split("|"):
        name, equals, value = part.rpartition(":")[2].partition("=")
        if equals and value.strip() not in ("", "0"):
            found.add(name.strip())
    return frozenset(found)
