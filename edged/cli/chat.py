"""`edged chat`: talk with a model, in a terminal or in a pipe."""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from edged.cli import piped
from edged.cli.answering import Answered, answer
from edged.cli.client import Client, connect, options
from edged.cli.conversation import Conversation
from edged.cli.model_choice import chosen
from edged.errors import EdgedError

_INTERRUPTED = 130
_PROMPT, _MORE = ">>> ", "... "
_QUOTES = '"""'
_COMMAND = re.compile(r"/([a-z]+|\?)(\s|$)")  # a path, say, is none
_HELP = """\
/set NAME VALUE  send a field of /v1/chat/completions along, such as temperature 0.2; no VALUE takes it back
/system TEXT     what the model is told before the conversation; no TEXT takes it back
/model NAME      go on with another model
/show            the settings
/retry           ask the last question again
/clear           forget the conversation
/bye             leave; so does Ctrl-D
A line that ends with \\ goes on in the next one, and so does everything between lines of \"\"\".
Ctrl-C stops an answer."""


@click.command("chat", short_help="Talk with a model of the running edged.")
@options
@click.option("--system", help="What the model is told before the conversation.")
@click.option("-p", "--prompt", help="Ask this, print the answer and leave; what is piped in follows it.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Send a field of /v1/chat/completions along, such as temperature=0.2; may be repeated.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say after each answer how fast it came.")
@click.argument("model", required=False)
def command(
    config_file: Path | None,
    url: str | None,
    system: str | None,
    prompt: str | None,
    settings: tuple[str, ...],
    verbose: bool,
    model: str | None,
) -> None:
    """Talk with MODEL of the running edged, which may be left out where only one generates text.

    In a pipe it reads one question to its end and prints the answer. In a terminal, /help lists what can be
    said beside questions.
    """
    client = connect(config_file, url)
    conversation = Conversation(chosen(client, "generate", model), system)
    for setting in settings:
        name, _, value = setting.partition("=")
        conversation.set(name, value)
    talk = Talk(client, conversation, verbose=verbose)
    more = "" if sys.stdin.isatty() else piped.text()
    question = "\n\n".join(filter(str.strip, [prompt or "", more]))
    if question:
        if talk.say(question).stopped:
            sys.exit(_INTERRUPTED)
    elif prompt is None and sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  # edited lines, and those of before with the arrow keys
        talk.go_on(_typed)
    else:
        raise EdgedError("there is no question: give one with --prompt, or pipe it in")


class Talk:
    """A conversation with a person, or with one question."""

    def __init__(self, client: Client, conversation: Conversation, *, verbose: bool) -> None:
        self._client = client
        self._conversation = conversation
        self._verbose = verbose

    def say(self, question: str) -> Answered:
        """Ask, and show the answer; what came of one that was stopped counts as said. Raises EdgedError."""
        question = question.encode("utf-8", "replace").decode()  # what was typed need not be UTF-8
        answered = answer(self._client, self._conversation.ask(question))
        self._conversation.answered(question, answered.text)
        if answered.finish_reason == "length":
            click.echo("(cut off: max_tokens, or the model's context, is used up)", err=True)
        if self._verbose:
            click.echo(f"({answered.pace})", err=True)
        return answered

    def go_on(self, read: Callable[[str], str]) -> None:
        """Answer what is typed until it ends; `read` gives a line after a prompt, or raises EOFError."""
        click.echo(f"{self._conversation.model} listens; /help says what else can be said", err=True)
        while True:
            try:
                line = read(_PROMPT)
                if _COMMAND.match(line):
                    if not self._do(line.strip()):
                        return
                elif text := whole(line, read).strip():
                    self.say(text)
            except KeyboardInterrupt:
                click.echo("\n(/bye or Ctrl-D leaves)", err=True)
            except EOFError:
                click.echo(err=True)
                return
            except EdgedError as error:
                click.echo(f"edged: {error}", err=True)

    def _do(self, line: str) -> bool:
        """Do what a line beginning with / says; False: leave. Raises EdgedError."""
        verb, _, rest = line.partition(" ")
        rest = rest.strip()
        match verb:
            case "/bye" | "/exit" | "/quit":
                return False
            case "/help" | "/?":
                click.echo(_HELP, err=True)
            case "/set":
                name, _, value = rest.partition(" ")
                self._conversation.set(name, value.strip())
            case "/system":
                self._conversation.system = rest or None
            case "/model":
                self._conversation.model = chosen(self._client, "generate", rest or None)
            case "/show":
                click.echo("\n".join(self._conversation.shown()), err=True)
            case "/retry":
                self.say(self._conversation.take_back())
            case "/clear":
                self._conversation.clear()
            case _:
                raise EdgedError(f"{verb} is nothing that can be done here; /help lists what is")
        return True


def _typed(prompt: str) -> str:
    """A line; where answers go to a file, the prompt is not to be in it."""
    if sys.stdout.isatty():
        return input(prompt)
    click.echo(prompt, nl=False, err=True)
    return input()


def whole(line: str, read: Callable[[str], str]) -> str:
    """What is typed, over as many lines as it takes."""
    if line.strip().startswith(_QUOTES):
        return _quoted(line.strip().removeprefix(_QUOTES), read)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read(_MORE))
    return "\n".join(lines)


def _quoted(first: str, read: Callable[[str], str]) -> str:
    lines = [first]
    while not lines[-1].rstrip().endswith(_QUOTES):
        lines.append(read(_MORE))
    lines[-1] = lines[-1].rstrip().removesuffix(_QUOTES)
    return "\n".join(lines).strip("\n")
