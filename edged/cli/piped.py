"""What is piped into a verb: UTF-8, whatever the locale; bytes that are none become U+FFFD."""

import sys
from collections.abc import Iterator


def text() -> str:
    """All of it."""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def lines() -> Iterator[str]:
    """Line by line, as they come."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")
