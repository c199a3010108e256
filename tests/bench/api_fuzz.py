"""Generated requests to every endpoint, by what /openapi.json says of it.

`.venv/bin/python -m tests.bench.api_fuzz --help`. All of edged's HTTP serves fake models: what is tried is
whether it answers, and answers as it says. A share of this runs with the tests.
"""

import random
from collections import Counter

import click

from tests.api.conftest import start, stop
from tests.api.fuzzing import FAKES, Outcome, fuzz
from tests.bench import report

_EXAMPLES = 100  # of each operation, in a round


@click.command(help=__doc__)
@click.option("--requests", "n_requests", default=10_000, show_default=True, help="Send at least so many.")
@click.option(
    "--seed", type=int, help="Of the first round; the next ones count on.  [default: another each time]"
)
def main(n_requests: int, seed: int | None) -> None:
    """Print who answered what; exits with 1 where something is wrong."""
    seed = random.randrange(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    whole = Outcome()
    running = start(FAKES, server={"max_requests": 16})
    try:
        while whole.n_requests < n_requests:
            whole.add(fuzz(running.server.url, _EXAMPLES, seed))
            click.echo(f"{whole.n_requests} requests")
            seed += 1
    finally:
        stop(running)
    _print(whole)
    raise SystemExit(1 if whole.problems else 0)


def _print(whole: Outcome) -> None:
    rows = [[operation, _counted(answers)] for operation, answers in sorted(whole.answers.items())]
    problems = f"{len(whole.problems)} kinds of problem"
    report.print_table("Generated requests", problems, ["operation", "answers by status"], rows)
    for problem, how in whole.problems.items():
        click.echo(f"\n{problem}\n{how}")


def _counted(answers: Counter[int]) -> str:
    return ", ".join(f"{status}: {number}" for status, number in sorted(answers.items()))


if __name__ == "__main__":
    main()
