"""What the CPU's settings and llama.cpp's build cost."""

import pytest

from edged.doctor.compute import features, governor, native_build, threads
from edged.doctor.facts import Frequency, LlamaBuild
from edged.hw.snapshot import CpuFacts
from tests.unit.doctor.invented import a_plan

INFO = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 0 | SVE_CNT = 16 | OPENMP = 1 | REPACK = 1 | "
PYTHON = "/opt/edged/bin/python"


def build(*names: str) -> LlamaBuild:
    return LlamaBuild(version="0.3.36", features=frozenset(names))


def test_a_governor_that_is_slow_to_follow() -> None:
    found = governor(Frequency(governor="ondemand", available=("ondemand", "powersave", "performance")))
    assert found is not None
    assert found.cost.startswith("unknown")
    assert found.fix == ("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",)
    without = governor(Frequency(governor="powersave", available=("powersave",)))
    assert without is not None
    assert without.fix == ()


@pytest.mark.parametrize(
    "fine",
    [
        Frequency(governor="schedutil"),
        Frequency(governor="performance"),
        Frequency(governor="powersave", driver="intel_pstate"),
        Frequency(),
    ],
)
def test_governors_that_are_fine(fine: Frequency) -> None:
    assert governor(fine) is None


def test_what_llama_cpp_says_of_itself() -> None:
    assert features(INFO) == {"SSE3", "AVX", "AVX2", "SVE_CNT", "OPENMP", "REPACK"}
    assert features("") == features("nonsense | = | x =") == frozenset()


def test_a_wheel_without_code_for_this_cpu() -> None:
    cpu = CpuFacts(instruction_sets=("avx", "avx2", "avx512f", "avx512_fp16"))
    found = native_build(cpu, build("AVX"), PYTHON)
    assert found is not None
    assert "without AVX2, AVX512, which" in found.what
    assert found.fix[0].startswith(f"CMAKE_ARGS=-DGGML_NATIVE=ON {PYTHON} -m pip install ")
    assert found.fix[0].endswith("llama-cpp-python==0.3.36")
    assert native_build(cpu, build("AVX", "AVX2", "AVX512"), PYTHON) is None


def test_arm_names() -> None:
    cpu = CpuFacts(instruction_sets=("asimd", "asimddp"))
    found = native_build(cpu, build("NEON"), PYTHON)
    assert found is not None
    assert "without DOTPROD" in found.what


def test_no_llama_cpp_at_all_and_an_unknown_cpu() -> None:
    broken = native_build(CpuFacts(instruction_sets=("avx",)), None, PYTHON)
    assert broken is not None
    assert broken.level == "problem"
    unknown = native_build(CpuFacts(), build("AVX"), PYTHON)
    assert unknown is not None
    assert unknown.level == "unknown"


def test_more_threads_than_cores() -> None:
    plans = [a_plan(n_threads=4), a_plan("minilm", n_threads=2)]
    found = threads(plans, CpuFacts(usable_cores=2, quota_cores=2.5))
    assert found is not None
    assert "smollm2 asks for 4 threads where 2 can run at once, by a quota of 2.50 cores" in found.what
    assert found.fix == ("edged run --set models.smollm2.n_threads=auto",)
    assert threads(plans, CpuFacts(usable_cores=4)) is None
    assert threads(plans, CpuFacts()) is None
