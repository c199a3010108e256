from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.cgroup import folders_of, hierarchy, parse_own
from edged.hw.mounts import Mount
from tests.unit.hw.captured import CGROUP_HYBRID

V1 = "35 31 0:32 {root} {top}/memory rw - cgroup cgroup rw,memory\n"
V1_CPU = "32 31 0:29 / {top}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "41 31 0:38 {root} {top}/unified rw - cgroup2 cgroup2 rw\n"


def fake_proc(tmp_path: Path, cgroup: str, mountinfo: str, root: str = "/") -> Path:
    """A /proc with these two files of `self`."""
    folder = tmp_path / "proc" / "self"
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mountinfo.format(top=tmp_path, root=root))
    return tmp_path / "proc"


def test_a_hybrid_machine_keeps_its_controllers_in_version_1(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, CGROUP_HYBRID, V1_CPU + V1 + V2)

    memory, cpu = hierarchy("memory", proc), hierarchy("cpu", proc)

    assert memory is not None
    assert cpu is not None
    top = tmp_path / "memory"
    assert (memory.version, memory.folders) == (1, (top / "box/94e03aea", top / "box", top))
    assert (cpu.version, cpu.folders) == (1, (tmp_path / "cpu" / "box", tmp_path / "cpu"))


def test_version_2(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, "0::/system.slice/edged.service\n", V2)

    found = hierarchy("memory", proc)

    assert found is not None
    top = tmp_path / "unified"
    assert found.version == 2
    assert found.folders == (top / "system.slice/edged.service", top / "system.slice", top)


def test_a_container_that_mounts_its_own_part(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, "4:memory:/docker/abc/inner\n", V1, root="/docker/abc")

    found = hierarchy("memory", proc)

    assert found is not None
    assert found.folders == (tmp_path / "memory" / "inner", tmp_path / "memory")


@pytest.mark.parametrize("path", ["/../../other", "/..", "/elsewhere"])
def test_outside_of_what_is_mounted_only_the_mount_point_is_left(path: str) -> None:
    mount = Mount(device="0:1", root="/docker/abc", point="/m", fs_type="cgroup2", source="cgroup2")

    assert folders_of(mount, path) == (Path("/m"),)


def test_without_mounts_or_cgroups_there_is_none(tmp_path: Path) -> None:
    assert hierarchy("memory", tmp_path) is None
    assert hierarchy("memory", fake_proc(tmp_path, CGROUP_HYBRID, "")) is None


def test_paths_may_hold_colons() -> None:
    assert parse_own("1:memory:/a:b\n")["memory"] == "/a:b"


@given(st.text() | st.text(alphabet="0:/.,\nmemory\0"))
def test_never_raises(content: str) -> None:
    mount = Mount(device="0:1", root="/a", point="/m", fs_type="cgroup", source="cgroup")
    for path in parse_own(content).values():
        assert folders_of(mount, path)[-1] == Path("/m")
