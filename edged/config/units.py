"""Sizes and durations as people write them: `512MiB`, `10m`."""

import re
from typing import Any

from edged.config.schema import Bytes, Seconds

SIZE_UNITS_BYTES = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
TIME_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_NUMBER = r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?"
SIZE_PATTERN = rf"^{_NUMBER} ?(?:{'|'.join(SIZE_UNITS_BYTES)})$"
TIME_PATTERN = rf"^{_NUMBER} ?(?:{'|'.join(TIME_UNITS_S)})$"
WHOLE_NUMBER_PATTERN = r"^(?:0|[1-9][0-9]{0,17})$"
SIZE_TEXT_PATTERN = rf"{SIZE_PATTERN}|{WHOLE_NUMBER_PATTERN}"


def parse_bytes(text: str) -> int | None:
    """A size in bytes, rounded to whole ones; None when the text is no size."""
    if re.fullmatch(WHOLE_NUMBER_PATTERN, text):
        return int(text)
    if not re.fullmatch(SIZE_PATTERN, text):
        return None
    number, unit = _split(text)
    if unit == "B" and not number.is_integer():
        return None
    return round(number * SIZE_UNITS_BYTES[unit])


def parse_seconds(text: str) -> float | None:
    """A duration in seconds, or None when the text is none. The unit is required: `10` may mean anything."""
    if not re.fullmatch(TIME_PATTERN, text):
        return None
    number, unit = _split(text)
    return number * TIME_UNITS_S[unit]


def written(value: Any) -> Any:
    """A setting's value as it is written in YAML: sizes and durations with their largest whole unit."""
    if isinstance(value, Bytes):
        unit = next(
            (unit for unit in ("GiB", "MiB", "KiB") if value and value % SIZE_UNITS_BYTES[unit] == 0), ""
        )
        return f"{value // SIZE_UNITS_BYTES[unit]}{unit}" if unit else int(value)
    if isinstance(value, Seconds):
        unit = next((unit for unit in ("h", "m", "s") if value and value % TIME_UNITS_S[unit] == 0), "s")
        return f"{value / TIME_UNITS_S[unit]:.9g}{unit}"
    return list(value) if isinstance(value, tuple) else value


def format_bytes(size_bytes: float) -> str:
    """A size for people, in binary units: `93.8 MiB`; whole numbers without decimals: `512 MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size_bytes) >= SIZE_UNITS_BYTES[unit]:
            return f"{size_bytes / SIZE_UNITS_BYTES[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes:.0f} B"


def format_seconds(duration_s: float) -> str:
    """A duration for people: `0.35 s`, `2.3 s`, `3 min`, `24 h`."""
    if duration_s >= 2 * 3600:
        return f"{duration_s / 3600:.0f} h"
    if duration_s >= 120:
        return f"{duration_s / 60:.0f} min"
    return f"{duration_s:.2f} s" if duration_s < 1 else f"{duration_s:.1f}".removesuffix(".0") + " s"


def format_rate(bytes_per_s: float) -> str:
    """A transfer rate for people, decimal as storage is sold: `40.0 MB/s`."""
    if bytes_per_s >= 1e9:
        return f"{bytes_per_s / 1e9:.1f} GB/s"
    return f"{bytes_per_s / 1e6:.1f} MB/s"


def _split(text: str) -> tuple[float, str]:
    digits = re.match(_NUMBER, text)
    assert digits is not None, text
    return float(digits.group()), text[digits.end() :].strip()
