import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.cgroup import Hierarchy
from edged.hw.memory import (
    held_bytes,
    memory_facts,
    oom_kills,
    parse_meminfo,
    resident_bytes,
    tightest_limit,
    without,
    zram_bytes,
)
from edged.hw.snapshot import MemoryFacts
from tests.unit.hw.captured import CGROUP_HYBRID, MEMINFO_PI4, PRESSURE
from tests.unit.hw.test_cgroup import V1, V2, fake_proc

GIB = 1 << 30
NO_LIMIT_V1 = 9223372036854771712
NO_LIMIT_V1_64K_PAGES = 9223372036854710272


def v1(folder: Path, limit: int, usage: int, cache: int = 0, hierarchical: int = NO_LIMIT_V1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(
        f"cache {cache}\nhierarchical_memory_limit {hierarchical}\n"
        f"total_inactive_file {cache - cache // 4}\ntotal_active_file {cache // 4}\n"
    )
    return folder


def v2(folder: Path, limit: str, current: int, cache: int = 0, high: str = "max") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.high").write_text(f"{high}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache // 2}\nactive_file {cache // 2}\n")
    return folder


def test_meminfo_of_a_raspberry_pi() -> None:
    found = parse_meminfo(MEMINFO_PI4)

    assert found["MemTotal"] == 3885396 * 1024
    assert found["MemAvailable"] == 3216876 * 1024
    assert "HugePages_Total" not in found, "a count, not kB"


@pytest.mark.parametrize(
    "content", ["", "MemTotal:", "MemTotal: kB", "MemTotal: x kB", "MemTotal: 99999999999999999 kB"]
)
def test_garbage_is_left_out(content: str) -> None:
    assert parse_meminfo(content) == {}


def test_page_cache_does_not_count_as_used_in_version_1(tmp_path: Path) -> None:
    own = v1(tmp_path / "own", limit=GIB, usage=900 << 20, cache=800 << 20)

    limit = tightest_limit(Hierarchy(version=1, folders=(own,)))

    assert limit is not None
    assert (limit.limit_bytes, limit.used_bytes) == (GIB, 100 << 20)


def test_page_cache_does_not_count_as_used_in_version_2(tmp_path: Path) -> None:
    own = v2(tmp_path / "own", limit=str(GIB), current=900 << 20, cache=800 << 20)

    limit = tightest_limit(Hierarchy(version=2, folders=(own,)))

    assert limit is not None
    assert (limit.limit_bytes, limit.used_bytes) == (GIB, 100 << 20)


@pytest.mark.parametrize("number", [NO_LIMIT_V1, NO_LIMIT_V1_64K_PAGES])
def test_unlimited_in_version_1(tmp_path: Path, number: int) -> None:
    own = v1(tmp_path / "own", limit=number, usage=5, hierarchical=number)

    assert tightest_limit(Hierarchy(version=1, folders=(own,))) is None


def test_unlimited_in_version_2(tmp_path: Path) -> None:
    own = v2(tmp_path / "own", limit="max", current=5)

    assert tightest_limit(Hierarchy(version=2, folders=(own, tmp_path))) is None


def test_memory_high_is_a_limit(tmp_path: Path) -> None:
    own = v2(tmp_path / "own", limit=str(2 * GIB), current=0, high=str(GIB))

    limit = tightest_limit(Hierarchy(version=2, folders=(own,)))

    assert limit is not None
    assert limit.limit_bytes == GIB


def test_an_ancestor_counts_when_it_leaves_less_room(tmp_path: Path) -> None:
    parent = v2(tmp_path / "parent", limit=str(2 * GIB), current=2 * GIB - (64 << 20))
    own = v2(parent / "own", limit=str(GIB), current=256 << 20)

    limit = tightest_limit(Hierarchy(version=2, folders=(own, parent)))

    assert limit is not None
    assert limit.limit_bytes == 2 * GIB, "siblings have nearly used up the larger limit"
    assert limit.room_bytes == 64 << 20


def test_a_hidden_ancestor_shows_in_the_hierarchical_limit(tmp_path: Path) -> None:
    own = v1(tmp_path / "own", limit=NO_LIMIT_V1, usage=0, hierarchical=GIB)

    limit = tightest_limit(Hierarchy(version=1, folders=(own,)))

    assert limit is not None
    assert limit.limit_bytes == GIB


def test_use_is_unknown_when_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(GIB))

    limit = tightest_limit(Hierarchy(version=2, folders=(tmp_path,)))

    assert limit is not None
    assert (limit.used_bytes, limit.room_bytes) == (None, GIB)


def test_zram(tmp_path: Path) -> None:
    for name, size in (("zram0", "1073741824"), ("zram1", "garbage"), ("vda", "7")):
        (tmp_path / "block" / name).mkdir(parents=True)
        (tmp_path / "block" / name / "disksize").write_text(size)

    assert zram_bytes(tmp_path) == GIB
    assert zram_bytes(tmp_path / "missing") is None


def test_all_facts_of_a_hybrid_machine(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, CGROUP_HYBRID, V1 + V2)
    (proc / "meminfo").write_text(MEMINFO_PI4)
    (proc / "pressure").mkdir()
    (proc / "pressure" / "memory").write_text(PRESSURE)
    v1(tmp_path / "memory" / "box" / "94e03aea", limit=NO_LIMIT_V1, usage=0)
    v1(tmp_path / "memory" / "box", limit=GIB, usage=512 << 20, cache=256 << 20)

    facts = memory_facts(proc, tmp_path)

    assert (facts.cgroup_version, facts.cgroup_limit_bytes, facts.cgroup_used_bytes) == (1, GIB, 256 << 20)
    assert facts.usable_bytes == 768 << 20
    assert (facts.swap_total_bytes, facts.psi_full_avg10) == (102396 * 1024, 0.42)


def test_nothing_known_is_none_everywhere(tmp_path: Path) -> None:
    facts = memory_facts(tmp_path, tmp_path)

    assert facts.total_bytes is None
    assert facts.cgroup_version is None
    assert facts.usable_bytes is None


def test_this_machine() -> None:
    facts = memory_facts()

    assert facts.total_bytes is not None
    assert facts.usable_bytes is not None
    assert 0 < facts.usable_bytes <= facts.total_bytes


@given(st.text() | st.text(alphabet="MemTotal: 0123456789kB\n"))
def test_never_raises(content: str) -> None:
    assert all(0 <= size < 2**63 for size in parse_meminfo(content).values())


def test_what_processes_hold_is_their_anonymous_and_locked_memory(tmp_path: Path) -> None:
    for pid, anonymous_kib in ((7, 100), (8, 20)):
        (tmp_path / str(pid)).mkdir()
        status = f"Name:\tx\nVmLck:\t       4 kB\nVmRSS:\t 9999 kB\nRssAnon:\t{anonymous_kib} kB\n"
        (tmp_path / str(pid) / "status").write_text(status)
    assert held_bytes([7, 8, 9], tmp_path) == (120 + 2 * 4) << 10  # 9 has ended meanwhile


def test_pages_that_are_shared_count_in_part(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps_rollup").write_text(
        "5d0-7ff ---p 00000000 00:00 0    [rollup]\nRss:    38780 kB\nPss:    24416 kB\nPss_Anon: 19856 kB\n"
    )
    assert resident_bytes(7, tmp_path) == 24416 << 10
    assert resident_bytes(8, tmp_path) is None
    own = resident_bytes(os.getpid())
    assert own is not None
    assert own > 1 << 20


def test_facts_as_if_nobody_held_anything() -> None:
    facts = without(MemoryFacts(available_bytes=10, cgroup_limit_bytes=100, cgroup_used_bytes=30), 50)
    assert (facts.available_bytes, facts.cgroup_limit_bytes, facts.cgroup_used_bytes) == (60, 100, 0)
    assert without(MemoryFacts(), 50) == MemoryFacts()


def test_the_kernels_count_of_processes_ended_for_memory(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) is None
    (tmp_path / "vmstat").write_text("pgfault 5\noom_kill_extra 9\noom_kill 3\n")
    assert oom_kills(tmp_path) == 3
    assert isinstance(oom_kills(), int)
