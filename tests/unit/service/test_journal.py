"""Where records go and what they look like."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.errors import ConfigError
from edged.service import journal


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("edged.test", logging.WARNING, "/x/test.py", 7, message, args, None, "test")
    vars(made).update(extra)
    return made


def test_a_text_line_has_time_level_and_message() -> None:
    line = journal.TextFormatter(dated=False).format(record("%d models", 2))
    assert line[8:] == " warning  2 models"


def test_a_text_line_is_dated_when_nobody_watches() -> None:
    line = journal.TextFormatter(dated=True).format(record("x"))
    assert line[:2] == "20"
    assert line[19:] == " warning  x"


def test_control_characters_cannot_forge_lines() -> None:
    line = journal.TextFormatter(dated=False).format(record("a\nb\r\x1b[2Jc\u2028"))
    assert line.endswith(r"a\nb\r\x1b[2Jc\u2028")


def test_text_goes_to_stderr_from_the_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    journal.configure("warning", "text")
    logging.getLogger("edged.test").warning("seen")
    logging.getLogger("edged.test").info("not seen")
    logging.getLogger("waitress.queue").warning("not seen either")
    assert [line[20:] for line in capsys.readouterr().err.splitlines()] == ["warning  seen"]


def test_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    journal.configure("info", "text")
    journal.configure("info", "text")
    logging.getLogger("edged.test").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_an_exception_is_written_below_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    journal.configure("info", "text")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("edged.test").exception("failed")
    assert capsys.readouterr().err.splitlines()[-1] == "ValueError: why"


def test_the_journal_gets_fields() -> None:
    sent: list[tuple[str, dict[str, str | int]]] = []
    handler = journal.JournalHandler(lambda message, **fields: sent.append((message, fields)))
    handler.handle(record("%s is ready", "minilm", model="minilm", request_id="r1"))
    message, fields = sent[0]
    assert message == "minilm is ready"
    assert fields["PRIORITY"] == "4"
    assert (fields["MODEL"], fields["REQUEST_ID"]) == ("minilm", "r1")
    assert (fields["SYSLOG_IDENTIFIER"], fields["CODE_LINE"]) == ("edged", 7)
    assert "ARGS" not in fields


def test_systemds_own_sender_takes_the_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path))
    journal.configure("info", "journal")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("edged.test").exception("failed", extra={"model": "minilm", "Ünï": 1})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.ERROR, "3"), (60, "2")]
)
def test_levels_become_priorities(level: int, priority: str) -> None:
    sent: list[dict[str, str]] = []
    made = record("x")
    made.levelno = level
    journal.JournalHandler(lambda _message, **fields: sent.append(fields)).handle(made)
    assert sent[0]["PRIORITY"] == priority


def test_stderr_is_the_journal_when_device_and_inode_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert journal.stderr_is_journal()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not journal.stderr_is_journal()
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not journal.stderr_is_journal()


def test_asking_for_a_journal_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "socket"))
    with pytest.raises(ConfigError, match=r"logging\.format"):
        journal.configure("info", "journal")
