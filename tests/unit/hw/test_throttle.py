from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.throttle import parse_io_max, parse_v1, read_limits
from tests.unit.hw.test_cgroup import V2, fake_proc

V1_BLKIO = "36 31 0:33 {root} {top}/blkio rw - cgroup cgroup rw,blkio\n"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("own", "parent", "limit"),
    [
        ("254:0 rbps=20000000 wbps=max riops=max wiops=max", "", 20_000_000),
        ("254:0 rbps=max wbps=max riops=max wiops=max", "", None),
        ("254:0 rbps=100000000 wbps=max riops=50 wiops=max", "", 50 * MIB),
        ("254:0 rbps=90000000", "8:0 rbps=1\n254:0 rbps=40000000", 40_000_000),
        ("8:0 rbps=20000000", "", None),
    ],
)
def test_the_tightest_limit_of_version_2(tmp_path: Path, own: str, parent: str, limit: int | None) -> None:
    proc = fake_proc(tmp_path, "0::/a.slice/edged.service\n", V2)
    folder = tmp_path / "unified" / "a.slice" / "edged.service"
    folder.mkdir(parents=True)
    (folder / "io.max").write_text(own)
    (folder.parent / "io.max").write_text(parent)

    assert read_limits("254:0", proc).bytes_per_s == limit


@pytest.mark.parametrize(("reads", "limit"), [("", 94_000_000), ("254:0 40\n", 40 * MIB)])
def test_the_limits_of_version_1(tmp_path: Path, reads: str, limit: int) -> None:
    proc = fake_proc(tmp_path, "3:blkio:/box\n0::/\n", V1_BLKIO + V2)
    folder = tmp_path / "blkio" / "box"
    folder.mkdir(parents=True)
    (folder / "blkio.throttle.read_bps_device").write_text("8:0 5\n254:0 94000000\n")
    (folder / "blkio.throttle.read_iops_device").write_text(reads)

    assert read_limits("254:0", proc).bytes_per_s == limit
    assert read_limits("254:0", proc).reads_per_s == (40 if reads else None)


def test_no_control_groups_no_limit(tmp_path: Path) -> None:
    assert read_limits("254:0", tmp_path).bytes_per_s is None
    assert read_limits("254:0", tmp_path).reads_per_s is None


@given(st.text())
def test_odd_files_are_no_limit_and_no_error(content: str) -> None:
    assert parse_io_max(content, "254:0") == {}
    assert parse_v1(content, "254:0") is None
