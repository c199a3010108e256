from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.pressure import Pressure, parse_pressure, pressure
from tests.unit.hw.captured import PRESSURE


def test_both_lines() -> None:
    assert parse_pressure(PRESSURE) == Pressure(some_avg10=1.53, full_avg10=0.42)


def test_old_kernels_have_no_full_line_for_the_cpu() -> None:
    assert parse_pressure(PRESSURE.splitlines()[0]) == Pressure(some_avg10=1.53)


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
