from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw import text


def test_read_strips_and_survives_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b" 42\xff \n")

    assert text.read(tmp_path / "file") == "42\ufffd"


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert text.read(tmp_path / "missing") is None
    assert text.read(tmp_path) is None
    assert text.read(tmp_path / "a\0b") is None


@pytest.mark.parametrize(
    ("content", "number"),
    [("0", 0), (" 7\n", 7), (str(2**63 - 1), 2**63 - 1), ("0042", 42)],
)
def test_whole_numbers(content: str, number: int) -> None:
    assert text.integer(content) == number


@pytest.mark.parametrize(
    "content", [None, "", "max", "-1", "1.5", "1_000", "٣", "²", str(2**63), "9" * 5000, "0x10"]
)
def test_anything_else_is_no_number(content: str | None) -> None:
    assert text.integer(content) is None


@given(st.text())
def test_never_raises(content: str) -> None:
    number = text.integer(content)

    assert number is None or 0 <= number < 2**63
