"""Where log records go: readable lines on a terminal, structured fields under systemd's journal.

Records may carry `extra={"MODEL": ..., "REQUEST_ID": ...}`: fields of those names in the journal. `EVENT` is
one of `events`, and adds the MESSAGE_ID by which `journalctl` finds it.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from edged.errors import ConfigError
from edged.service.events import MESSAGE_IDS
from edged.service.throttle import Throttle

JOURNAL_SOCKET = "/run/systemd/journal/socket"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_LINE_BREAKING = {ord("\n"): "\\n", ord("\r"): "\\r", 0x1B: "\\x1b", 0x85: "\\x85", 0x2028: "\\u2028"}


def configure(level: str, format: Literal["auto", "text", "journal"]) -> None:  # noqa: A002
    """Set up logging for the whole process; `auto` is the journal when systemd connected stderr to it.

    Raises ConfigError when the journal is asked for and there is none.
    """
    if format == "journal" and not os.path.exists(JOURNAL_SOCKET):
        raise ConfigError(
            [f"logging.format: journal, but there is no {JOURNAL_SOCKET} here; use text or auto"]
        )
    to_journal = format == "journal" or (format == "auto" and stderr_is_journal())
    root = logging.getLogger()
    before = root.handlers[:]
    root.addHandler(Throttle(_journal_handler() if to_journal else _text_handler()))
    for handler in before:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level.upper())
    # Waitress warns for every request that waits for a thread and informs about every client that leaves.
    logging.getLogger("waitress").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def stderr_is_journal() -> bool:
    """Whether systemd connected stderr to the journal: JOURNAL_STREAM names its device and inode."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class TextFormatter(logging.Formatter):
    """`12:03:04 warning  message`, with the date when nobody watches. A record is one line, always."""

    def __init__(self, *, dated: bool) -> None:
        super().__init__()
        self._stamp = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """The record as text. Control characters are escaped: a request's path must not forge lines."""
        stamp = time.strftime(self._stamp, time.localtime(record.created))
        message = record.getMessage().translate(_LINE_BREAKING)
        line = f"{stamp} {record.levelname.lower():<8} {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JournalHandler(logging.Handler):
    """Sends records to the journal with their fields."""

    def __init__(self, send: Callable[..., Any]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._send(record.getMessage(), **_fields(record))
        except (OSError, ValueError, TypeError):
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, str | int]:
    fields: dict[str, str | int] = {
        key.upper(): str(value)
        for key, value in vars(record).items()
        if key not in _STANDARD and key.isidentifier()
    }
    message_id = MESSAGE_IDS.get(str(fields.get("EVENT")))
    if message_id is not None:
        fields["MESSAGE_ID"] = message_id
    priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
    fields |= {
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "edged",
        "LOGGER": record.name,
        "THREAD_NAME": str(record.threadName),
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName or "",
    }
    if record.exc_info:
        fields["EXCEPTION"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _journal_handler() -> logging.Handler:
    from systemd import journal  # needs libsystemd and time: only under the journal

    return JournalHandler(journal.send)


def _text_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(dated=not sys.stderr.isatty()))
    return handler
