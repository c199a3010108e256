import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.pressure import MemoryAlarm, Pressure, parse_pressure, pressure
from tests.unit.hw.captured import PRESSURE


def test_both_lines() -> None:
    assert parse_pressure(PRESSURE) == Pressure(some_avg10=1.53, full_avg10=0.42, some_stalled_s=85.842608)


def test_old_kernels_have_no_full_line_for_the_cpu() -> None:
    assert parse_pressure(PRESSURE.splitlines()[0]) == Pressure(some_avg10=1.53, some_stalled_s=85.842608)


@pytest.mark.parametrize(
    "content",
    ["", "some", "some avg10=", "some avg10=nan", "some avg10=inf", "some avg10=-1", "half avg10=1.0"],
)
def test_garbage_is_unknown(content: str) -> None:
    assert parse_pressure(content) == Pressure()


def test_reads_the_file_of_the_resource(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(PRESSURE)

    assert pressure("cpu", tmp_path).some_avg10 == 1.53
    assert pressure("memory", tmp_path) == Pressure()


@given(st.text() | st.text(alphabet="somefulavg10=. \n"))
def test_never_raises(content: str) -> None:
    found = parse_pressure(content)

    assert found.some_avg10 is None or 0 <= found.some_avg10 <= 100


def test_an_alarm_wakes_by_the_clock_and_ends_when_it_is_stopped(tmp_path: Path) -> None:
    alarm = MemoryAlarm(tmp_path)
    assert not alarm.is_triggered
    assert alarm.stalled_s() is None
    assert alarm.wait(0.001)
    assert alarm.pause(0.001)
    alarm.stop()
    assert not alarm.wait(60.0)
    assert not alarm.pause(60.0)
    alarm.close()


def test_the_stalls_of_the_machine_are_counted_where_no_group_counts_its_own(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "memory").write_text(PRESSURE)
    alarm = MemoryAlarm(tmp_path)
    assert alarm.stalled_s() == 85.842608
    alarm.close()


def test_the_own_group_is_watched_where_it_counts(tmp_path: Path) -> None:
    group = tmp_path / "groups" / "edged"
    group.mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/edged\n")
    mount = f"30 24 0:26 / {tmp_path / 'groups'} rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "self" / "mountinfo").write_text(mount)
    (group / "memory.pressure").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n")
    alarm = MemoryAlarm(tmp_path)
    assert alarm.stalled_s() == 2.5
    alarm.close()


@pytest.mark.skipif(not os.access("/proc/pressure/memory", os.W_OK), reason="no PSI here")
def test_the_kernel_takes_one_of_the_triggers_or_the_clock_does() -> None:
    alarm = MemoryAlarm()
    stalled_s = alarm.stalled_s()
    assert stalled_s is not None
    assert stalled_s >= 0
    assert alarm.wait(0.001)
    alarm.close()
