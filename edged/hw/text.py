"""Small kernel text files: read without raising, numbers without surprises."""

from pathlib import Path

_LARGEST = 2**63 - 1  # what the kernel's counters and every encoder of ours can hold


def read(path: Path) -> str | None:
    """The text of a file under /proc or /sys without surrounding space; None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # ValueError: a NUL byte in a path that came out of another file
        return None


def integer(text: str | None) -> int | None:
    """A whole decimal number from 0 to 2^63-1; None for anything else, such as `max` or `-1`."""
    text = text.strip() if text else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    number = int(text)
    return number if number <= _LARGEST else None


def read_integer(path: Path) -> int | None:
    """The number that a file holds; None when it cannot be read or holds something else."""
    return integer(read(path))
