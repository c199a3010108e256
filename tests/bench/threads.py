"""Tokens per second by number of threads and by how long they spin, alone and beside busy neighbours."""

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from tests.bench.process import BenchFailed
from tests.bench.report import print_table

_SPINS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "0": {"GOMP_SPINCOUNT": "0"},
    "100": {"GOMP_SPINCOUNT": "100"},
    "1000": {"GOMP_SPINCOUNT": "1000"},
    "10000": {"GOMP_SPINCOUNT": "10000"},
    "50000": {"GOMP_SPINCOUNT": "50000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
}
_STEPS = {"decode 1": 1, "decode 4": 4, "prompt 128": 128}


class Steps:
    """A process that computes steps."""

    def __init__(self, model: Path, more: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.threads_once", str(model)],
            env={**os.environ, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer()

    def tokens_per_s(self, n_threads: int, n_tokens: int, seconds: float, *, adapts: bool) -> float:
        """Raises BenchFailed when the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n_threads} {int(adapts)} {n_tokens} {seconds}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchFailed(f"the measuring process ended (exit code {self._process.wait()})")
        return answer


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that compute all the time."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@click.command()
@click.option("--model", "path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=0.5, show_default=True, help="For each measurement of a fixed number.")
@click.option("--repetitions", default=3, show_default=True)
@click.option("--spins", "names", multiple=True, type=click.Choice(list(_SPINS)), help="Default: all.")
def main(path: Path, seconds: float, repetitions: int, names: tuple[str, ...]) -> None:
    """Fixed numbers of threads with each way of spinning, and the adapted number, by turns."""
    most = len(os.sched_getaffinity(0))
    found: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        runs = {name: Steps(path, _SPINS[name]) for name in names or _SPINS}
        for run in runs.values():
            stack.callback(run.close)
        for _ in range(repetitions):
            for busy in range(most + 1):
                with neighbours(busy):
                    for name, run in runs.items():
                        for step, n_tokens in _STEPS.items():
                            for n_threads in range(1, most + 1):
                                rate = run.tokens_per_s(n_threads, n_tokens, seconds, adapts=False)
                                found[name, step, str(n_threads), busy].append(rate)
                            rate = run.tokens_per_s(most, n_tokens, 4 * seconds, adapts=True)
                            found[name, step, "adapted", busy].append(rate)
    rows = [
        [*key, *(_shown(found[*key, busy]) for busy in range(most + 1))]
        for key in dict.fromkeys(key[:3] for key in found)
    ]
    caption = "Tokens per second: median (range). The adapted number is learnt anew in each measurement."
    columns = ("spins", "step", "threads", *(f"{busy} neighbours" for busy in range(most + 1)))
    print_table(f"Threads: {path.name}", caption, columns, rows)


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"


if __name__ == "__main__":
    main()
