import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.cgroup import Hierarchy
from edged.hw.cpu import (
    count_cpus,
    cpu_facts,
    instruction_sets,
    parse_cpuinfo,
    quota_cores,
    strong_cores,
    usable_cores,
)
from tests.unit.hw.captured import CPUINFO_JETSON, CPUINFO_NUC, CPUINFO_PI4, CPUINFO_PI5


def fake_cores(tmp_path: Path, cpuinfo: str, attribute: str, values: list[int]) -> tuple[Path, Path]:
    """A /proc and a /sys with that many cores, each with one attribute."""
    proc, sys = tmp_path / "proc", tmp_path / "sys"
    proc.mkdir()
    (proc / "cpuinfo").write_text(cpuinfo)
    cpus = sys / "devices" / "system" / "cpu"
    for number, value in enumerate(values):
        file = cpus / f"cpu{number}" / attribute
        file.parent.mkdir(parents=True)
        file.write_text(f"{value}\n")
    (cpus / "online").write_text(f"0-{len(values) - 1}\n")
    return proc, sys


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (CPUINFO_PI4, ("asimd",)),
        (CPUINFO_PI5, ("asimd", "asimdhp", "asimddp")),
        (CPUINFO_JETSON, ("asimd", "asimdhp", "asimddp")),
        (CPUINFO_NUC, ("avx", "f16c", "fma", "avx2", "avx_vnni")),
        ("", ()),
        ("processor: 0\nflags: avx avx2\n\nprocessor: 1\nflags: avx\n", ("avx",)),
    ],
)
def test_instruction_sets_that_every_core_has(cpuinfo: str, expected: tuple[str, ...]) -> None:
    assert instruction_sets(parse_cpuinfo(cpuinfo)) == expected


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (CPUINFO_PI4, "Raspberry Pi 4 Model B Rev 1.4"),
        (CPUINFO_JETSON, "ARMv8 Processor rev 1 (v8l)"),
        (CPUINFO_NUC, "12th Gen Intel(R) Core(TM) i5-1240P"),
        ("garbage", None),
    ],
)
def test_model_name(tmp_path: Path, cpuinfo: str, name: str | None) -> None:
    proc, sys = fake_cores(tmp_path, cpuinfo, "cpu_capacity", [1024, 1024])

    assert cpu_facts(proc, sys, {0, 1}).model_name == name


def test_the_device_tree_names_a_board_that_cpuinfo_does_not(tmp_path: Path) -> None:
    proc, sys = fake_cores(tmp_path, "processor: 0\n", "cpu_capacity", [1024])
    (proc / "device-tree").mkdir()
    (proc / "device-tree" / "model").write_bytes(b"NVIDIA Jetson Orin Nano\0")

    assert cpu_facts(proc, sys, {0}).model_name == "NVIDIA Jetson Orin Nano"


@pytest.mark.parametrize(
    ("allowed", "quota", "cores"),
    [
        (4, None, 4),
        (4, 1.5, 1),
        (4, 1.75, 1),
        (4, 1.95, 2),
        (4, 2.0, 2),
        (2, 8.0, 2),
        (4, 0.25, 1),
        (0, None, 1),
    ],
)
def test_usable_cores_round_a_quota_down(allowed: int, quota: float | None, cores: int) -> None:
    assert usable_cores(allowed, quota) == cores


def test_the_tightest_quota_of_version_1(tmp_path: Path) -> None:
    own, parent = tmp_path / "parent" / "own", tmp_path / "parent"
    own.mkdir(parents=True)
    for folder, quota in ((own, -1), (parent, 150000), (tmp_path, 400000)):
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")

    assert quota_cores(Hierarchy(version=1, folders=(own, parent, tmp_path))) == 1.5
    assert quota_cores(Hierarchy(version=1, folders=(own,))) is None


@pytest.mark.parametrize(
    ("content", "cores"),
    [("50000 100000", 0.5), ("max 100000", None), ("", None), ("1", None), ("100000 0", None), ("a b", None)],
)
def test_the_quota_of_version_2(tmp_path: Path, content: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(content)

    assert quota_cores(Hierarchy(version=2, folders=(tmp_path,))) == cores


def test_big_and_little_cores(tmp_path: Path) -> None:
    proc, sys = fake_cores(tmp_path, "", "cpu_capacity", [530, 530, 530, 530, 1024, 1024, 1004, 1004])

    assert cpu_facts(proc, sys, set(range(8))).performance_cores == 4
    assert cpu_facts(proc, sys, {0, 1, 2, 3}).performance_cores is None, "only little ones are allowed"


def test_hybrid_cores_by_frequency(tmp_path: Path) -> None:
    proc, sys = fake_cores(tmp_path, CPUINFO_NUC, "cpufreq/cpuinfo_max_freq", [4400000] * 8 + [3300000] * 8)

    assert cpu_facts(proc, sys, set(range(16))).performance_cores == 8


@pytest.mark.parametrize("capacities", [[], [1024] * 4, [5_200_000, 5_400_000]])
def test_cores_that_are_alike(capacities: list[int]) -> None:
    assert strong_cores(capacities) is None


@pytest.mark.parametrize(
    ("cpu_list", "count"),
    [("0", 1), ("0-3", 4), ("0-1,4,6-7", 5), ("", None), ("3-1", None), ("a-b", None), ("0-", None)],
)
def test_cpu_lists(cpu_list: str, count: int | None) -> None:
    assert count_cpus(cpu_list) == count


def test_this_machine() -> None:
    facts = cpu_facts()

    assert facts.usable_cores is not None
    assert 1 <= facts.usable_cores <= len(os.sched_getaffinity(0))
    assert facts.architecture == os.uname().machine


def test_nothing_known(tmp_path: Path) -> None:
    facts = cpu_facts(tmp_path, tmp_path, {0, 1})

    assert (facts.usable_cores, facts.instruction_sets, facts.model_name) == (2, (), None)


@given(st.text() | st.text(alphabet="procesflagFeatur: \n\t"))
def test_never_raises(content: str) -> None:
    instruction_sets(parse_cpuinfo(content))
    count_cpus(content)
