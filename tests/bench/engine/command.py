"""The command: which cases, on which models, and the table."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import msgspec

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import report
from tests.bench.engine import agreement, embedding, generation, resident, sharing
from tests.bench.engine.rows import COLUMNS, Row, latest, notes
from tests.bench.engine.setup import Setup, Turns
from tests.bench.models import BenchModel, installed
from tests.bench.peers import llama_server
from tests.bench.process import BenchFailed

CASES = ("chat", "first-token", "embed", "mixed", "spinners", "long-prompt", "memory", "agreement")
Measure = Callable[[Setup], list[Row]]


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    cases: Sequence[str]
    models: Sequence[str]
    clients: Sequence[int]
    caches: Sequence[str]
    stream: bool

    def measures(self) -> Iterator[tuple[str, Measure]]:
        """Each measurement with a name for progress."""
        for case in self.cases:
            if case in ("embed", "agreement"):
                embeds = embedding.texts_per_s if case == "embed" else agreement.vectors
                yield f"{case} minilm", _on("minilm", embeds)
            if case == "embed":
                continue
            for model in self.models:
                for name, measure in self._of_model(case, model):
                    yield f"{case} {model}{name}", measure

    def _of_model(self, case: str, model: str) -> Iterator[tuple[str, Measure]]:
        plain = {
            "first-token": generation.first_token,
            "long-prompt": sharing.long_prompt,
            "memory": resident.memory,
            "agreement": agreement.greedy,
        }
        if case in plain:
            yield "", _on(model, plain[case])
        elif case == "mixed":
            yield (
                "",
                lambda setup: sharing.embedding_beside_chat(
                    setup, setup.models["minilm"], setup.models[model]
                ),
            )
        elif case == "spinners":
            for count in (1, 2):
                yield f" {count}", _on(model, partial(sharing.beside_spinners, n_spinners=count))
        else:
            for n_clients in self.clients:
                for cache in self.caches:
                    chat = partial(
                        generation.chat, n_clients=n_clients, cache=cache == "on", stream=self.stream
                    )
                    yield f" {n_clients} cache {cache}", _on(model, chat)


def _on(model: str, case: Callable[[Setup, BenchModel], list[Row]]) -> Measure:
    return lambda setup: case(setup, setup.models[model])


def measured(name: str, measure: Measure, setup: Setup, patience_s: float) -> list[Row]:
    """Rows with what others used of the CPUs meanwhile; none when it failed, which is said on stderr."""
    turns = Turns(patience_s)
    try:
        rows = measure(replace(setup, turns=turns))
    except BenchFailed as error:
        click.echo(f"{name}: failed: {error}", err=True)
        return []
    return [msgspec.structs.replace(row, others_cores=turns.others_cores) for row in rows]


def print_rows(rows: Sequence[Row], commit: str) -> None:
    """The table."""
    caption = f"llama.cpp: {commit}. Median (range); the ratio is of the medians, its range that of pairs."
    report.print_table("edged's engine", f"{caption}\n{notes(rows)}", COLUMNS, [row.cells() for row in rows])


def commit_of(program: Path) -> str:
    """What llama-server says of the source it was built from."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("version:")), "unknown")


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES), help="Default: all.")
@click.option("--model", "models", multiple=True, default=("smollm2", "gemma3-270m"), show_default=True)
@click.option("--clients", multiple=True, type=click.IntRange(1), default=(1, 4, 8), show_default=True)
@click.option(
    "--cache",
    "caches",
    multiple=True,
    type=click.Choice(["on", "off"]),
    default=("on", "off"),
    show_default=True,
)
@click.option("--stream/--whole", default=False, help="How chat answers come. Default: whole.")
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--patience",
    "patience_s",
    default=120.0,
    show_default=True,
    help="Seconds after which a case no longer repeats what others disturbed.",
)
@click.option("--results", type=click.Path(path_type=Path), help="Append rows to this file, one JSON each.")
@click.option("--report", "only_report", is_flag=True, help="Measure nothing; print what --results holds.")
@click.option("--model-dir", "folder", type=click.Path(path_type=Path), help="Default: of `edged pull`.")
def main(
    repetitions: int,
    patience_s: float,
    results: Path | None,
    only_report: bool,
    folder: Path | None,
    **asked: object,
) -> None:
    """Measure edged beside llama-server, and for embeddings onnxruntime, by turns."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the programs that run must be stopped
    program = llama_server.binary()
    rows: list[Row] = []
    if not only_report:
        models = {model.id: model for model in installed(folder or model_dir(Config()))}
        setup = Setup(models, program, repetitions)
        wanted = msgspec.convert(asked | {"cases": asked["cases"] or CASES}, Asked)
        for name, measure in wanted.measures():
            found = measured(name, measure, setup, patience_s)
            rows += found
            if results is not None:
                with results.open("ab") as file:
                    file.writelines(msgspec.json.encode(row) + b"\n" for row in found)
            click.echo(name, err=True)
    if results is not None:
        rows = [msgspec.json.decode(line, type=Row) for line in results.read_bytes().splitlines()]
    print_rows(latest(rows), commit_of(program))
