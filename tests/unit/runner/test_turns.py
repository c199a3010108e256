"""Readers of several processes that take turns, on a real board."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from edged.runner import turns
from edged.runner.turns import Turns, expect

DEVICE = 5
# Record locks belong to processes: other readers have to be some. Each says that it has entered.
READER = """
import os, sys, time
from edged.runner.turns import Turns
board, number, device, left = map(int, sys.argv[1:])
turns = Turns(board, number)
turns.enter(device, left)
print("entered", flush=True)
for line in sys.stdin:
    word, _, left = line.partition(" ")
    if word.strip() == "leave":
        turns.leave()
    elif word.strip() == "ask":
        turns.ask()
    print(turns.mine(int(left)) if word == "mine" else "done", flush=True)
"""


class Reader:
    """A reader in a process of its own."""

    def __init__(self, board: int, number: int, left_bytes: int, device: int = DEVICE) -> None:
        arguments = [str(value) for value in (board, number, device, left_bytes)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[board],
        )  # fmt: skip
        assert self._line() == "entered"

    def tell(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Board:
    """A board and the readers on it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("board")
        self.readers: list[Reader] = []

    def reader(self, number: int, left_bytes: int, device: int = DEVICE) -> Reader:
        self.readers.append(Reader(self.fd, number, left_bytes, device))
        return self.readers[-1]


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    for reader in made.readers:
        reader.end()
    os.close(made.fd)


def entered(board: Board, number: int, left_bytes: int) -> Turns:
    made = Turns(board.fd, number)
    made.enter(DEVICE, left_bytes)
    return made


def test_the_shortest_goes_first_whoever_came_first(board: Board) -> None:
    long = entered(board, 0, 100)
    assert long.mine(100)
    short = board.reader(1, 30)
    assert not long.mine(99)
    assert short.tell("mine 30") == "True"
    assert short.tell("leave") == "done"
    assert long.mine(99)


def test_of_equal_ones_one_goes_first(board: Board) -> None:
    mine, other = entered(board, 3, 50), board.reader(2, 50)
    assert (mine.mine(50), other.tell("mine 50")) == (False, "True")


@pytest.mark.parametrize("by", ["daemon", "runner"])
def test_who_is_waited_for_goes_before_shorter_ones(board: Board, by: str) -> None:
    short, long = entered(board, 0, 10), board.reader(1, 1000)
    assert short.mine(10)
    if by == "daemon":
        expect(board.fd, 1, expected=True)
    else:
        long.tell("ask")
    assert not short.mine(10)
    short.ask()
    assert short.mine(10)


def test_who_is_waited_for_no_more_has_no_preference(board: Board) -> None:
    short, _ = entered(board, 0, 10), board.reader(1, 1000)
    expect(board.fd, 1, expected=True)
    expect(board.fd, 1, expected=False)
    assert short.mine(10)


def test_other_storage_is_nobodys_business(board: Board) -> None:
    long = entered(board, 0, 100)
    board.reader(1, 10, device=DEVICE + 1)
    assert long.mine(100)


def test_a_reader_that_died_is_not_waited_for(board: Board) -> None:
    long, short = entered(board, 0, 100), board.reader(1, 10)
    assert not long.mine(100)
    short.end()
    assert long.mine(100)
    again = board.reader(1, 10)  # its place is free again
    assert not long.mine(100)
    again.tell("ask")
    again.end()
    longer = board.reader(1, 1000)  # nobody has asked for this one
    assert long.mine(100)
    longer.end()
    again = board.reader(1, 10)
    assert not long.mine(100)
    assert again.tell("mine 9") == "True"


def test_a_reader_that_hangs_is_passed_over_until_it_gets_on(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    long, short = entered(board, 0, 100), board.reader(1, 10)
    short.process.send_signal(signal.SIGSTOP)
    assert not long.mine(100)
    now_s += turns.PATIENCE_S / 2
    assert not long.mine(100)
    now_s += turns.PATIENCE_S / 2
    assert long.mine(100)
    short.process.send_signal(signal.SIGCONT)
    assert short.tell("mine 9") == "True"
    assert not long.mine(100)


def test_without_a_board_every_turn_is_mine() -> None:
    alone = Turns(None, 7)
    alone.enter(DEVICE, 1)
    alone.ask()
    assert alone.mine(1)
    alone.wait(1, lambda: False)
    alone.leave()


def test_waiting_ends_when_it_is_stopped(board: Board) -> None:
    long, _ = entered(board, 0, 100), board.reader(1, 10)
    asked = iter([False, False, True])
    long.wait(100, lambda: next(asked))
    assert next(asked, None) is None
