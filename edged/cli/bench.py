"""`edged bench`: how fast a server answers, by the number of its clients."""

import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import click
import msgspec

from edged.cli.client import connect
from edged.cli.load_test import Measured, chats, embeddings, measure
from edged.cli.model_choice import chosen, kind_of
from edged.cli.table import aligned

_GENERATED = (
    *("CLIENTS", "ANSWERS", "FAILED", "FIRST P50", "P95", "P99", "ANSWER P50", "P95"),
    *("TOKENS/S EACH", "TOKENS/S ALL"),
)
_EMBEDDED = ("CLIENTS", "ANSWERS", "FAILED", "P50", "P95", "P99", "TEXTS/S")


def _counts(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in value.split(","))
    except ValueError:
        counts = (0,)
    if not all(1 <= each <= 512 for each in counts):
        raise click.BadParameter("expected numbers between 1 and 512, such as 1,4,8")
    return counts


@click.command("bench", short_help="Measure how fast a server answers, by the number of clients.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The file that edged runs by.")
@click.option("-m", "--model", help="The model; may be left out where only one generates text.")
@click.option("--clients", default="1,4", show_default=True, callback=_counts, help="How many ask at once.")
@click.option(
    "--seconds",
    "duration_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="For so long.",
)
@click.option(
    "--words",
    "n_words",
    default=64,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Of each prompt.",
)
@click.option("--max-tokens", default=64, show_default=True, type=click.IntRange(1), help="Of each answer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("url", required=False, envvar="EDGED_URL")
def command(
    config_file: Path | None,
    model: str | None,
    clients: tuple[int, ...],
    duration_s: float,
    n_words: int,
    max_tokens: int,
    as_json: bool,
    url: str | None,
) -> None:
    """Ask the server at URL (default: the running edged), which speaks OpenAI's API, with so many clients.

    A chat model streams answers to prompts that differ; FIRST is the time to an answer's first piece. Of an
    embedding model each request has one text. The model is loaded before anything is measured.
    """
    client = connect(config_file, url)
    model = chosen(client, "generate", model)
    kind = kind_of(client, model)
    ask = embeddings(client, model, n_words) if kind == "embed" else chats(client, model, n_words, max_tokens)
    numbers = count(random.randrange(1 << 40))  # what an earlier run has asked may lie in a cache
    ask(next(numbers))  # which loads the model
    measured = [measure(ask, n_clients, duration_s, numbers) for n_clients in clients]
    if as_json:
        told = {"url": client.url, "model": model, "kind": kind or "generate", "measured": measured}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    else:
        click.echo(table(measured, embedded=kind == "embed"))
    for each in measured:
        if each.first_failure:
            click.echo(
                f"edged: with {each.clients} clients, the first failure: {each.first_failure}", err=True
            )


def table(measured: Sequence[Measured], *, embedded: bool) -> str:
    """A line for each number of clients."""
    headings, cells = (_EMBEDDED, _embedded) if embedded else (_GENERATED, _generated)
    lines = [
        (str(each.clients), str(each.answers), str(each.failures), *map(_time, _firsts(each)), *cells(each))
        for each in measured
    ]
    return aligned([headings, *lines])


def _firsts(each: Measured) -> tuple[float | None, ...]:
    return each.first_p50_s, each.first_p95_s, each.first_p99_s


def _generated(each: Measured) -> tuple[str, ...]:
    pace = "-" if each.each_per_s is None else f"{each.each_per_s:.1f}"
    return _time(each.answer_p50_s), _time(each.answer_p95_s), pace, f"{each.all_per_s:.1f}"


def _embedded(each: Measured) -> tuple[str, ...]:
    return (f"{each.all_per_s:.1f}",)


def _time(duration_s: float | None) -> str:
    if duration_s is None:
        return "-"
    return f"{duration_s:.2f} s" if duration_s >= 1 else f"{1000 * duration_s:.1f} ms"
