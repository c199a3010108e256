"""What repeats is written so often, then counted."""

import logging

from edged.service.throttle import Throttle


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Journal:
    """A throttle that lets two of a kind through in ten seconds of a clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.kept = Kept()
        self.throttle = Throttle(self.kept, most=2, window_s=10, clock=lambda: self.now_s)

    def say(self, message: str, level: int = logging.INFO, line: int = 1, **fields: object) -> None:
        record = logging.LogRecord("edged.test", level, "/x.py", line, message, (), None)
        vars(record).update(fields)
        self.throttle.handle(record)


def test_the_same_event_of_the_same_model_is_written_so_often_and_then_counted() -> None:
    journal = Journal()
    for n in range(5):
        journal.say(f"crash {n}", EVENT="runner_crashed", MODEL="a", line=n)
    assert journal.kept.messages == ["crash 0", "crash 1"]
    journal.now_s = 10.0
    journal.say("crash 5", EVENT="runner_crashed", MODEL="a")
    counted = journal.kept.records[2]
    assert counted.getMessage() == "left out 3 more messages like this within 10 s: crash 4"
    assert (vars(counted)["EVENT"], vars(counted)["MODEL"]) == ("runner_crashed", "a")
    assert journal.kept.messages[3] == "crash 5"


def test_other_models_and_other_events_are_not_affected() -> None:
    journal = Journal()
    for _ in range(3):
        journal.say("a", EVENT="runner_crashed", MODEL="a")
    journal.say("b", EVENT="runner_crashed", MODEL="b")
    journal.say("ready", EVENT="model_ready", MODEL="a")
    assert journal.kept.messages == ["a", "a", "b", "ready"]


def test_without_an_event_the_line_of_code_decides() -> None:
    journal = Journal()
    for n in range(4):
        journal.say(f"one {n}", line=1)
        journal.say(f"two {n}", line=2)
    assert journal.kept.messages == ["one 0", "two 0", "one 1", "two 1"]


def test_debug_messages_are_all_passed_on() -> None:
    journal = Journal()
    for n in range(4):
        journal.say(f"{n}", logging.DEBUG)
    assert len(journal.kept.messages) == 4


def test_what_was_left_out_is_told_by_whatever_comes_next() -> None:
    journal = Journal()
    for _ in range(3):
        journal.say("again", EVENT="model_failed", MODEL="a")
    journal.now_s = 11.0
    journal.say("another")
    assert journal.kept.messages[2:] == [
        "left out 1 more messages like this within 10 s: again",
        "another",
    ]


def test_what_was_left_out_is_told_at_the_end() -> None:
    journal = Journal()
    for _ in range(4):
        journal.say("again")
    journal.throttle.close()
    assert journal.kept.messages[-1] == "left out 2 more messages like this within 10 s: again"
