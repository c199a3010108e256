"""Numbers for people: medians with their spread, in tables."""

import statistics
from collections.abc import Sequence

import rich.console
import rich.table


def seconds(samples: Sequence[float]) -> str:
    """Median and range: `2.41 (2.37-2.60)`; a dash where there is nothing."""
    if not samples:
        return "-"
    return f"{statistics.median(samples):.2f} ({min(samples):.2f}-{max(samples):.2f})"


def ratio(samples: Sequence[float], floor: float) -> str:
    """The median as a multiple of what is physically possible."""
    return f"{statistics.median(samples) / floor:.2f} x" if samples else "-"


def errors(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """How far each prediction is off, as a share of what was measured; `pairs` are (predicted, measured)."""
    return [abs(measured - predicted) / measured for predicted, measured in pairs]


def percent(shares: Sequence[float]) -> str:
    """The median of shares of one: `12 %`; a dash where there is nothing."""
    return f"{100 * statistics.median(shares):.0f} %" if shares else "-"


def print_table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: two columns of names, then numbers. As wide as it needs where stdout is a file."""
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = 200
    table = rich.table.Table(title=title, caption=caption, caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 3 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
