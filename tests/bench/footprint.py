"""Predicted beside measured memory of real runners, over context lengths, slots, cache types and repacking.

Run it as any user: `.venv/bin/python -m tests.bench.footprint --help`; README.md beside this file says more.
"""

import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from edged.config.paths import model_dir
from edged.config.schema import Config, Model
from edged.errors import RunnerFailed
from edged.gguf.footprint import KvType
from edged.gguf.header import GgufHeader, read_header
from edged.hw.cpu import cpu_facts
from edged.hw.snapshot import HardwareSnapshot, MemoryFacts
from edged.lifecycle.process import Event, RunnerProcess
from edged.lifecycle.supervision import Supervision, start_frame
from edged.policy.plan import plan
from edged.policy.types import LoadPlan, ModelInput, PlanSettings
from edged.runner import protocol
from tests.bench import report
from tests.bench.models import BenchModel, installed
from tests.bench.process import BenchFailed

_LIBRARIES_BYTES = 23 << 20  # code of the interpreter, llama.cpp, numpy and others that a runner touches
_PATIENCE_S = 240.0
_WATCHED = 1
_SHORT_PROMPT = 8
_ANSWER_TOKENS = 48
_INPUT_TOKENS = 16 * 512  # enough to use nearly every page of an encoder's token table
# The same token over and over lets the engine draft, and the chain looks at all tokens: all buffers are used.
_SAMPLING = protocol.Sampling(ignore_eos=True, top_k=0, logit_bias={1000: 100.0})
_CAPTION = (
    "MiB. Predicted from the header alone, without what earlier loads took. anonymous: at the end of a\n"
    "request of full length in one slot, while all others generate. file: the model file's pages in the\n"
    "runner. all files: with libraries, which runners share. pss: everything, shared pages divided."
)
_SUPERVISION = Supervision(
    load_timeout_s=_PATIENCE_S,
    backoff_s=1.0,
    backoff_max_s=1.0,
    max_queue_requests=64,
    max_queue_tokens=1 << 20,
    lease_fd=None,
)


@dataclass(frozen=True)
class Cell:
    """One model with one set of settings, as a configuration would fix them."""

    model: BenchModel
    n_ctx: int
    n_seq_max: int
    n_ubatch: int
    types: tuple[KvType, KvType] = ("f16", "f16")
    repack: bool = False

    @property
    def text(self) -> str:
        """The settings, for the table."""
        repack = ", repack" if self.repack else ""
        return f"{self.n_ctx} x {self.n_seq_max}, ubatch {self.n_ubatch}, {'/'.join(self.types)}{repack}"


@dataclass(frozen=True)
class Memory:
    """What a process has in RAM, in bytes."""

    anon_bytes: int
    model_file_bytes: int
    all_files_bytes: int
    pss_bytes: int


def cells(model: BenchModel) -> Iterator[Cell]:
    """The settings that are tried for a model: each kind of difference at least once."""
    if model.kind == "embed":
        yield Cell(model, 128, 16, 128)
        yield Cell(model, 256, 16, 256)
        yield Cell(model, 512, 16, 512)
        yield Cell(model, 512, 16, 512, repack=True)
        return
    yield Cell(model, 512, 1, 64)
    yield Cell(model, 1024, 4, 512, ("q8_0", "f16"))
    yield Cell(model, 2048, 1, 512, repack=True)
    yield Cell(model, 2048, 8, 256, ("q8_0", "q8_0"))
    yield Cell(model, 4096, 1, 512, ("q4_0", "q4_0"), repack=True)
    yield Cell(model, 4096, 4, 128)
    yield Cell(model, 3072, 2, 512, ("q8_0", "q8_0"))


def measure(cell: Cell) -> tuple[LoadPlan, Memory]:
    """Load the model in a runner, use every buffer, and look. Raises BenchFailed."""
    header = read_header(cell.model.file)
    chosen = _plan(cell, header)
    process = RunnerProcess("edged.runner.main", ())
    try:
        process.send(start_frame(chosen, _SUPERVISION))
        _use(process, process.events(lambda: _PATIENCE_S), _requests(chosen, header))
        return chosen, _memory(process.pid, cell.model.file)
    except (RunnerFailed, protocol.ProtocolError, TimeoutError) as error:
        raise BenchFailed(f"{error}: {' '.join(process.last_log_lines)}") from error
    finally:
        process.kill()
        process.close()


def _plan(cell: Cell, header: GgufHeader) -> LoadPlan:
    settings = Model(
        file=str(cell.model.file),
        strategy="warm",
        repack=cell.repack,
        n_ctx=cell.n_ctx,
        n_seq_max=cell.n_seq_max,
        n_batch=max(512, cell.n_ubatch) if cell.model.kind == "generate" else cell.n_ubatch,
        n_ubatch=cell.n_ubatch,
        type_k=cell.types[0],  # type: ignore[arg-type]  # those of the cells above are allowed
        type_v=cell.types[1],  # type: ignore[arg-type]
    )
    unlimited = HardwareSnapshot(memory=MemoryFacts(), cpu=cpu_facts())
    (chosen,) = plan(unlimited, [ModelInput(id=cell.model.id, model=settings, header=header)], PlanSettings())
    if chosen.strategy != "warm":
        raise BenchFailed(f"{cell.model.id}: {chosen.strategy}: {' '.join(chosen.reasons)}")
    return chosen


def _requests(chosen: LoadPlan, header: GgufHeader) -> list[protocol.ToRunner]:
    """The first is of full length; the others keep every other slot busy for as long as it takes."""
    source = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(source.randrange(1000, header.n_vocab - 1) for _ in range(count))

    if chosen.kind == "embed":
        inputs = tuple(tokens(chosen.n_ctx) for _ in range(_INPUT_TOKENS // chosen.n_ctx))
        return [protocol.Embed(id=_WATCHED, token_lists=inputs)]
    lengths = [chosen.n_ctx - _ANSWER_TOKENS, *[_SHORT_PROMPT] * (chosen.n_seq_max - 1)]
    return [
        protocol.Generate(id=number, tokens=tokens(length), sampling=_SAMPLING)
        for number, length in enumerate(lengths, _WATCHED)
    ]


def _use(process: RunnerProcess, events: Iterable[Event], requests: Sequence[protocol.ToRunner]) -> None:
    """Send the requests when the runner is ready, and return when the first of them is answered."""
    for event in events:
        match event:
            case protocol.Ready():
                for request in requests:
                    process.send(request)
            case protocol.Step():
                if any(token.id == _WATCHED and token.finish_reason for token in event.events):
                    return
            case protocol.Embeddings():
                return
            case protocol.LoadFailed() | protocol.Rejected():
                raise BenchFailed(str(event))
    raise BenchFailed(f"the runner ended: {' '.join(process.last_log_lines)}")


def _memory(pid: int, file: Path) -> Memory:
    folder = Path("/proc", str(pid))
    whole = _sizes((folder / "smaps_rollup").read_text().splitlines()[1:])
    model_file_bytes, inside = 0, False
    for line in (folder / "smaps").read_text().splitlines():
        if not line.split(maxsplit=1)[0].endswith(":"):  # a mapping begins
            inside = line.endswith(f" {file.resolve()}")
        elif inside and line.startswith("Rss:"):
            model_file_bytes += _sizes([line])["Rss"]
    return Memory(
        anon_bytes=whole["Anonymous"],
        model_file_bytes=model_file_bytes,
        all_files_bytes=whole["Rss"] - whole["Anonymous"],
        pss_bytes=whole["Pss"],
    )


def _sizes(lines: Iterable[str]) -> dict[str, int]:
    """`Rss:   12 kB` lines as bytes by name."""
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(count) * 1024 for name, count, _ in fields}


def _error(predicted_bytes: int, measured_bytes: int) -> float:
    return predicted_bytes / measured_bytes - 1


def row(cell: Cell, chosen: LoadPlan, memory: Memory) -> list[str]:
    """One line of the table."""
    predicted = chosen.predicted
    pairs = (
        (predicted.anon_bytes, memory.anon_bytes),
        (predicted.file_bytes, memory.model_file_bytes),
        (predicted.file_bytes + _LIBRARIES_BYTES, memory.all_files_bytes),
    )
    cells = [cell.model.id, cell.text]
    for expected, found in pairs:
        cells += [_mib(expected), _mib(found), f"{_error(expected, found):+.1%}"]
    return [*cells, _mib(memory.pss_bytes)]


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 20):.1f}"


@click.command()
@click.option("--model", "models", multiple=True, help="Only this model; may be repeated.")
@click.option(
    "--model-dir", "folder", type=click.Path(path_type=Path), help="Default: where `edged pull` puts them."
)
@click.option("--within", type=float, default=0.1, show_default=True, help="Fail beyond this error.")
def main(models: tuple[str, ...], folder: Path | None, within: float) -> None:
    """Compare what the plan predicts with the memory that runners take."""
    folder = folder or model_dir(Config())
    found = [model for model in installed(folder) if not models or model.id in models]
    if not found:
        raise click.ClickException(f"no model in {folder}: run `edged pull minilm smollm2`")
    rows, errors = [], []
    for cell in (cell for model in found for cell in cells(model)):
        click.echo(f"{cell.model.id}, {cell.text}", err=True)
        try:
            chosen, memory = measure(cell)
        except BenchFailed as error:
            raise click.ClickException(f"{cell.model.id}, {cell.text}: {error}") from error
        rows.append(row(cell, chosen, memory))
        errors += [
            _error(chosen.predicted.anon_bytes, memory.anon_bytes),
            _error(chosen.predicted.file_bytes, memory.model_file_bytes),
        ]
    columns = ["model", "n_ctx x slots", *["anonymous", "measured", "error"], *["file", "measured", "error"]]
    columns += ["all files", "measured", "error", "pss"]
    report.print_table("Memory of a runner, predicted and measured", _CAPTION, columns, rows)
    worst = max(errors, key=abs)
    click.echo(f"median error {statistics.median(map(abs, errors)):.1%}, worst {worst:+.1%}")
    if abs(worst) > within:
        raise click.ClickException(f"an error is beyond {within:.0%}")


if __name__ == "__main__":
    main()
