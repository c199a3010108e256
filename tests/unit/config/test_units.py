"""Sizes and durations read what people write, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import units
from edged.config.schema import Bytes, Seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("17", 17),
        ("512MiB", 512 << 20),
        ("512 MiB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("2GB", 2 * 10**9),
        ("64kB", 64_000),
        ("7B", 7),
        ("0.1kB", 100),
        ("1.1MB", 1_100_000),
        ("71.4 MiB", 74_868_326),
        ("0.3B", None),
        ("512M", None),
        ("512mib", None),
        ("-1MiB", None),
        ("+1MiB", None),
        ("01MiB", None),
        ("1e3", None),
        ("infMiB", None),
        ("MiB", None),
        ("", None),
        ("1MiB\n", None),
        ("٣MiB", None),
        ("9" * 19, None),
    ],
)
def test_parse_bytes(text: str, size_bytes: int | None) -> None:
    assert units.parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("10s", 10.0),
        ("10 s", 10.0),
        ("500ms", 0.5),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("0s", 0.0),
        ("10", None),
        ("10sec", None),
        ("1:30", None),
        ("-1s", None),
        ("nans", None),
        ("10s\n", None),
    ],
)
def test_parse_seconds(text: str, duration_s: float | None) -> None:
    assert units.parse_seconds(text) == duration_s


@given(st.integers(min_value=0, max_value=10**15))
def test_written_sizes_read_back(size_bytes: int) -> None:
    assert units.parse_bytes(str(units.written(Bytes(size_bytes)))) == size_bytes


@given(st.integers(min_value=0, max_value=10**6))
def test_written_durations_read_back(duration_s: int) -> None:
    assert units.parse_seconds(units.written(Seconds(duration_s))) == pytest.approx(duration_s, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Bytes(8 << 20), "8MiB"),
        (Bytes(0), 0),
        (Bytes(1000), 1000),
        (Seconds(600), "10m"),
        (Seconds(90), "90s"),
        (Seconds(0.5), "0.5s"),
        (Seconds(0), "0s"),
        ((), []),
        ("auto", "auto"),
    ],
)
def test_written(value: object, text: object) -> None:
    assert units.written(value) == text


def test_texts_for_people() -> None:
    assert units.format_bytes(98_362_432) == "93.8 MiB"
    assert units.format_bytes(512 << 20) == "512 MiB"
    assert units.format_bytes(12) == "12 B"
    assert units.format_seconds(0.345) == "0.34 s"
    assert units.format_seconds(2.34) == "2.3 s"
    assert units.format_seconds(10) == "10 s"
    assert units.format_seconds(200) == "3 min"
    assert units.format_seconds(86400) == "24 h"
    assert units.format_rate(40e6) == "40.0 MB/s"
    assert units.format_rate(2.5e9) == "2.5 GB/s"
