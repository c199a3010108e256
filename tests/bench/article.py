"""A large model on slow storage: 3.6 GB at 43 MB/s, where reading alone takes 83 s.

Run as root: `.venv/bin/python -m tests.bench.article --help`; README.md beside this file says more.
"""

import compileall
from collections import defaultdict
from itertools import product
from pathlib import Path

import click

import edged
from tests import synthetic_gguf
from tests.bench import report, starts
from tests.bench.models import BenchModel
from tests.bench.process import BenchFailed
from tests.bench.starts import Start
from tests.device.device import Device, why_not
from tests.device.limits import Limits

# Room for the file, a context and what stock llama.cpp copies of the weights, so that storage alone decides.
_DEVICE = Limits(ram_bytes=8 << 30, read_bytes_per_s=43_000_000)
_CONTEXT = {"n_ctx": 2048, "n_seq_max": 1}
_EDGED = "edged"
_STOCK = "stock mmap"
_LIVEZ_S = 0.3
_READYZ_S = 3.0
_RATIO = 1.05
_CAPTION = (
    "Seconds from exec: median (range). accepts: /readyz is 200, or the script has loaded\n"
    "the model. floor: file bytes / read rate; of a dense model an answer needs them all.\n"
    "ratio: first token / floor. The request is sent as soon as the port answers."
)
_COLUMNS = ("program", "strategy", "livez", "accepts", "first token", "floor", "ratio")


def measure(program: str, model: BenchModel) -> Start:
    """One cold start. Raises BenchFailed."""
    with Device(_DEVICE) as device:
        device.cold(model.file)
        if program == _STOCK:
            return starts.stock(device, model, _CONTEXT)
        return starts.edged(device, [model], "auto", {model.id: _CONTEXT})


def row(program: str, model: BenchModel, samples: list[Start]) -> list[str]:
    """One line of the table."""
    answers = [start.answers_s[model.id] for start in samples]
    strategies = sorted({start.statuses[model.id]["strategy"] for start in samples if start.statuses})
    return [
        program,
        ", ".join(strategies) or "-",
        report.seconds([start.livez_s for start in samples if start.livez_s is not None]),
        report.seconds([start.readyz_s for start in samples]),
        report.seconds(answers),
        f"{floor_s(model):.2f}",
        report.ratio(answers, floor_s(model)),
    ]


def floor_s(model: BenchModel) -> float:
    """Seconds to read the whole file."""
    assert _DEVICE.read_bytes_per_s is not None
    return model.size_bytes / _DEVICE.read_bytes_per_s


def missed(model: BenchModel, start: Start) -> list[str]:
    """Which of its promises edged did not keep in one start."""
    ratio = start.answers_s[model.id] / floor_s(model)
    found = {
        f"/livez after {start.livez_s:.2f} s, wanted {_LIVEZ_S:g} s": (start.livez_s or 0.0) > _LIVEZ_S,
        f"ready after {start.readyz_s:.2f} s, wanted {_READYZ_S:g} s": start.readyz_s > _READYZ_S,
        f"first token at {ratio:.3f} x the floor, wanted {_RATIO:g} x": ratio > _RATIO,
    }
    return [text for text, is_missed in found.items() if is_missed]


@click.command()
@click.option(
    "--program", "programs", multiple=True, type=click.Choice([_EDGED, _STOCK]), help="Only this one."
)
@click.option("--repetitions", type=click.IntRange(1), default=1, show_default=True)
def main(programs: tuple[str, ...], repetitions: int) -> None:
    """Start a 9-billion-parameter model from slow storage; each start takes about a minute and a half."""
    reason = why_not(_DEVICE)
    if reason is not None:
        raise click.ClickException(reason)
    model = BenchModel("gemma-2-9b-shape", "generate", synthetic_gguf.cached())
    compileall.compile_dir(Path(edged.__file__).parent, quiet=1)  # as install.sh does
    chosen = programs or (_EDGED, _STOCK)
    samples: dict[str, list[Start]] = defaultdict(list)
    for _, program in product(range(repetitions), chosen):
        try:
            samples[program].append(measure(program, model))
        except BenchFailed as error:
            raise click.ClickException(f"{program}: {error}") from error
    rows = [row(program, model, samples[program]) for program in chosen]
    report.print_table(f"{model.size_bytes / 1e9:.2f} GB at 43 MB/s", _CAPTION, _COLUMNS, rows)
    problems = [text for start in samples[_EDGED] for text in missed(model, start)]
    if problems:
        raise click.ClickException("; ".join(problems))


if __name__ == "__main__":
    main()
