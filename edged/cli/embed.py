"""`edged embed`: texts as vectors, or how alike they are."""

import array
import base64
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
import msgspec

from edged.cli import piped
from edged.cli.client import Client, connect, options
from edged.cli.model_choice import chosen
from edged.errors import EdgedError

_AT_ONCE = 64  # texts of one request


@click.command("embed", short_help="Make embeddings with a model of the running edged.")
@options
@click.option("-m", "--model", help="The model; may be left out where only one makes embeddings.")
@click.option(
    "--like", metavar="TEXT", help="Print the texts by how like this one they are, each after its cosine."
)
@click.option("--truncate", is_flag=True, help="Cut texts that are too long instead of refusing them.")
@click.argument("texts", nargs=-1)
def command(
    config_file: Path | None,
    url: str | None,
    model: str | None,
    like: str | None,
    truncate: bool,
    texts: tuple[str, ...],
) -> None:
    """Print a vector for each of TEXTS, or of the lines piped in: a JSON array a line."""
    client = connect(config_file, url)
    model = chosen(client, "embed", model)
    given = texts or _lines()
    if like is not None:
        (target,) = vectors(client, model, [like], truncate=truncate)
        found = ((_cosine(target, vector), text) for text, vector in _each(client, model, given, truncate))
        for cosine, text in sorted(found, reverse=True):
            click.echo(f"{cosine:.4f}  {text}")
        return
    for _, vector in _each(client, model, given, truncate):
        click.echo(msgspec.json.encode(vector.tolist()).decode())


def vectors(client: Client, model: str, texts: list[str], *, truncate: bool) -> "list[array.array[float]]":
    """The unit vectors of a few texts. Raises EdgedError."""
    body = {"model": model, "input": texts, "encoding_format": "base64"}
    listed = client.post("/v1/embeddings", body | ({"truncate": True} if truncate else {}))["data"]
    found = [array.array("f", base64.b64decode(each["embedding"])) for each in listed]
    if sys.byteorder == "big":
        for vector in found:
            vector.byteswap()
    return found


def _each(
    client: Client, model: str, texts: Iterable[str], truncate: bool
) -> "Iterator[tuple[str, array.array[float]]]":
    """Texts with their vectors, as the texts come."""
    left = iter(texts)
    while some := list(islice(left, _AT_ONCE)):
        yield from zip(some, vectors(client, model, some, truncate=truncate), strict=True)


def _lines() -> Iterator[str]:
    """The lines on stdin that say something. Raises EdgedError where nothing is piped in."""
    if sys.stdin.isatty():
        raise EdgedError("there are no texts: give some, or pipe in one a line")
    for line in piped.lines():
        if text := line.strip():
            yield text


def _cosine(one: "array.array[float]", other: "array.array[float]") -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
