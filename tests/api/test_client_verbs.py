"""`edged chat`, `embed` and `bench` as clients of an edged that serves fake models."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from edged.cli.chat import Talk
from edged.cli.client import Client
from edged.cli.conversation import Conversation
from edged.cli.main import cli
from edged.errors import EdgedError
from tests.api.conftest import PATIENCE_S, Running, Serve
from tests.api.test_work import busy


def verb(running: Running, *arguments: str, stdin: str | None = None) -> Result:
    """A verb's result; its EdgedError is raised."""
    env = {"EDGED_URL": running.server.url, "EDGED_API_KEY": None}
    result = CliRunner(env=env).invoke(cli, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def typed(*lines: str) -> Callable[[str], str]:
    """Somebody who types these lines and then Ctrl-D."""
    left = iter(lines)

    def read(_prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


def talk(running: Running, *lines: str) -> Conversation:
    """The conversation after somebody has typed these lines."""
    conversation = Conversation("chat")
    Talk(Client(running.server.url), conversation, verbose=False).go_on(typed(*lines))
    return conversation


def turns(conversation: Conversation) -> list[str]:
    """What was said in turn, before the next question."""
    return [message["content"] for message in conversation.ask("next")["messages"]][:-1]


def test_chat_answers_a_pipe(edged: Running) -> None:
    done = verb(edged, "chat", stdin="one two\n")
    assert done.stdout == "one two\n"
    done = verb(edged, "chat", "chat", "--prompt", "Sum up:", "--verbose", stdin="one two\n")
    assert done.stdout == "Sum up: one two\n"
    assert "(4 tokens, the first after " in done.stderr


def test_what_is_piped_need_not_be_text(edged: Running) -> None:
    env = {**os.environ, "EDGED_URL": edged.server.url, "LC_ALL": "C"}
    chat = subprocess.run(
        [sys.executable, "-m", "edged", "chat"], input=b"wort \xff", env=env, capture_output=True, check=True
    )
    assert chat.stdout.decode() == "wort \ufffd\n"


def test_a_reader_that_leaves_ends_an_answer(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.001"})
    command = [sys.executable, "-m", "edged", "chat", "-p", "for ever", "--set", "ignore_eos=true"]
    env = {**os.environ, "EDGED_URL": running.server.url}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as chat:
        assert chat.stdout is not None
        assert chat.stderr is not None
        assert chat.stdout.read(3) == b"for"
        chat.stdout.close()
        assert chat.wait(PATIENCE_S) == 1
        assert chat.stderr.read() == b""
    assert busy(running, 0)


def test_chat_sends_settings_along(edged: Running) -> None:
    done = verb(edged, "chat", "--set", "max_tokens=1", "--set", "stop=x", "-p", "one two", stdin="")
    assert done.stdout == "one\n"
    assert "(cut off: " in done.stderr
    with pytest.raises(EdgedError, match="temperature"):
        verb(edged, "chat", "--set", "temperature=hot", "-p", "a", stdin="")
    with pytest.raises(EdgedError, match="messages cannot be set"):
        verb(edged, "chat", "--set", "messages=[]", "-p", "a", stdin="")


def test_chat_without_a_question_says_so(edged: Running) -> None:
    with pytest.raises(EdgedError, match="no question"):
        verb(edged, "chat", stdin="")


def test_chat_needs_a_name_where_several_models_would_do(serve: Serve) -> None:
    running = serve({"one": "fake:generate", "two": "fake:generate"})
    with pytest.raises(EdgedError, match="name one of one, two"):
        verb(running, "chat", stdin="a")
    assert verb(running, "chat", "two", stdin="a").stdout == "a\n"
    with pytest.raises(EdgedError, match="no model here makes embeddings"):
        verb(running, "embed", "a")


def test_a_conversation_remembers_what_was_said(edged: Running) -> None:
    conversation = talk(edged, "one two", "", "/system Be brief.", '"""', "three", 'four"""', "five\\", "six")
    said = ["one two", "one two", "three\nfour", "three four", "five\nsix", "five six"]
    assert turns(conversation) == ["Be brief.", *said]


def test_commands_of_a_conversation(edged: Running, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = talk(
        edged,
        "/set max_tokens 1",
        "one two",
        "/set max_tokens",
        "/retry",
        "/show",
        "/model",
        "/help",
        "/nothing",
    )
    assert turns(conversation) == ["one two", "one two"]
    told = capsys.readouterr()
    assert told.out == "one\none two\n"
    assert "model: chat\n" in told.err
    assert "/clear           forget" in told.err
    assert "/nothing is nothing that can be done here" in told.err
    assert turns(talk(edged, "one", "/clear")) == []
    assert turns(talk(edged, "/retry", "/bye", "never")) == []
    assert turns(talk(edged, "/etc/fstab has", "/usr is")) == ["/etc/fstab has", "/etc/fstab has"]


def test_an_error_does_not_end_a_conversation(edged: Running, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = talk(edged, "/model none", "one", "/model chat", "two")
    assert turns(conversation) == ["two", "two"]
    assert "edged: model 'none' is not configured" in capsys.readouterr().err


def test_ctrl_c_stops_an_answer_in_a_terminal(serve: Serve) -> None:
    """In a terminal of its own: half an answer, Ctrl-C, another question, Ctrl-D."""
    running = serve({"chat": "fake:generate?step_s=0.02"})
    ours, theirs = pty.openpty()
    # setsid makes the terminal the process's own, so that Ctrl-C is for it
    command = ["setsid", "-c", sys.executable, "-m", "edged", "chat", "--url", running.server.url]
    env = {**os.environ, "TERM": "dumb"}
    chat = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    screen = _Screen(ours)
    try:
        screen.wait_for(">>> ")
        os.write(ours, b"/set ignore_eos true\none two\n")
        screen.wait_for("two one two")
        os.write(ours, b"\x03")
        screen.wait_for(">>> ")
        assert busy(running, 0)
        os.write(ours, b"/set ignore_eos\nred fox\n")
        screen.wait_for("red fox\r\n>>> ")
        os.write(ours, b"\x04")
        assert chat.wait(PATIENCE_S) == 0
    finally:
        chat.kill()
        chat.wait()
        os.close(ours)


class _Screen:
    """What a terminal was told to show."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = ""

    def wait_for(self, text: str) -> None:
        """Return once this was shown; what came before is forgotten."""
        timer = threading.Timer(PATIENCE_S, os._exit, (1,))
        timer.start()
        try:
            while text not in self._shown:
                self._shown += os.read(self._terminal, 4096).decode()
        finally:
            timer.cancel()
        self._shown = self._shown.partition(text)[2]


def test_embed_prints_vectors(edged: Running) -> None:
    first, second = map(json.loads, verb(edged, "embed", "abc", "d").stdout.splitlines())
    assert first == pytest.approx([0.866, 0.289, 0.289, 0.289], abs=1e-3)
    assert len(second) == 4
    piped = verb(edged, "embed", "--model", "embed", stdin="abc\n\nd\n").stdout.splitlines()
    assert [*map(json.loads, piped)] == [first, second]


def test_embed_finds_what_is_alike(edged: Running) -> None:
    lines = verb(edged, "embed", "--like", "abcd", "a", "abc", "abcd").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["abcd", "abc", "a"]
    assert lines[0].split()[0] == "1.0000"


def test_embed_cuts_texts_only_when_asked(edged: Running) -> None:
    with pytest.raises(EdgedError, match="do not fit"):
        verb(edged, "embed", "x" * 100)
    assert len(json.loads(verb(edged, "embed", "--truncate", "x" * 100).stdout)) == 4


def test_bench_measures_answers_by_clients(edged: Running) -> None:
    options = ("--clients", "1,3", "--seconds", "0.2", "--words", "3", "--max-tokens", "4")
    headings, one, three = verb(edged, "bench", *options).stdout.splitlines()
    assert headings.split()[:3] == ["CLIENTS", "ANSWERS", "FAILED"]
    assert (one.split()[0], three.split()[0]) == ("1", "3")
    assert int(one.split()[1]) >= 1
    assert one.split()[2] == "0"
    told = json.loads(verb(edged, "bench", "--json", *options, edged.server.url).stdout)
    assert told["kind"] == "generate"
    assert [each["clients"] for each in told["measured"]] == [1, 3]
    assert all(each["all_per_s"] > each["answers"] for each in told["measured"])


def test_bench_measures_embeddings(edged: Running) -> None:
    lines = verb(edged, "bench", "-m", "embed", "--clients", "1", "--seconds", "0.1", "--words", "2").stdout
    assert lines.splitlines()[0].split()[-1] == "TEXTS/S"


def test_bench_says_what_went_wrong(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?fails=1"})
    with pytest.raises(EdgedError, match="computing failed"):
        verb(running, "bench", "--seconds", "0.1")
    wrong = verb(running, "bench", "--clients", "0")
    assert wrong.exit_code == 2
    assert "between 1 and 512" in wrong.stderr
