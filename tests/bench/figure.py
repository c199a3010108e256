"""Bars as an SVG drawing, readable on light and dark pages, without a drawing library."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _NAMES_WIDTH, _NUMBERS_WIDTH = 720, 130, 90  # pixels
_BAR_HEIGHT, _BAR_STEP, _TITLE_HEIGHT, _GROUP_GAP, _HEAD_HEIGHT = 14, 19, 22, 10, 44
_COLOURS = ("#2b7a5d", "#8a8f98", "#b9a26a", "#7d6fa6")  # by place in the group
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.note{fill:#57606a}"
    "line{stroke:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9aa4ae}line{stroke:#9aa4ae}}"
)


@dataclass(frozen=True)
class Bar:
    """A name and its samples: the bar ends at the median, a line spans the range."""

    name: str
    samples: Sequence[float]


@dataclass(frozen=True)
class Group:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[Bar]


def bars(title: str, unit: str, groups: Sequence[Group]) -> str:
    """The drawing; shorter is better, and a line marks 1."""
    longest = max((max(bar.samples) for group in groups for bar in group.bars if bar.samples), default=1.0)
    scale = (_WIDTH - _NAMES_WIDTH - _NUMBERS_WIDTH) / max(longest, 1.0)
    parts, top = [], float(_HEAD_HEIGHT)
    for group in groups:
        parts.append(_text(0, top + 13, group.title, "title"))
        top += _TITLE_HEIGHT
        for index, bar in enumerate(group.bars):
            parts.extend(_bar(bar, top, scale, _COLOURS[index % len(_COLOURS)]))
            top += _BAR_STEP
        top += _GROUP_GAP
    one = _NAMES_WIDTH + scale
    head = [
        _text(0, 14, title, "title"),
        _text(0, 32, f"{unit}; shorter is better", "note"),
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{_HEAD_HEIGHT}" y2="{top:.0f}" stroke-dasharray="3 3"/>',
        _text(one + 4, _HEAD_HEIGHT - 4, "1", "note"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top:.0f}" '
        f'viewBox="0 0 {_WIDTH} {top:.0f}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join([*head, *parts]) + "\n</svg>\n"
    )


def _bar(bar: Bar, top: float, scale: float, colour: str) -> list[str]:
    name = _text(8, top + 11, bar.name, "")
    if not bar.samples:
        return [name, _text(_NAMES_WIDTH, top + 11, "no answer", "note")]
    median = statistics.median(bar.samples)
    low, high = (_NAMES_WIDTH + scale * value for value in (min(bar.samples), max(bar.samples)))
    middle = top + _BAR_HEIGHT / 2
    return [
        name,
        f'<rect x="{_NAMES_WIDTH}" y="{top:.0f}" width="{scale * median:.1f}" height="{_BAR_HEIGHT}" '
        f'fill="{colour}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>',
        _text(high + 6, top + 11, f"{median:.2f} x", ""),
    ]


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'
